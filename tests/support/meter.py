"""What an attack costs: the service's memory and CPU time, and how long an innocent caller waits meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

_SAMPLE_SECONDS = 0.02
_CALM_ANSWERS = 10  # that are measured before the attack
_PAUSE_SECONDS = 0.05  # between two requests of the innocent caller
_MAX_ANSWER_SECONDS = 2.0


@dataclass
class Meter:
    """The figures of one attack. `refused` are answers to the innocent caller that are not a classified image."""

    grown_bytes: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    calm_seconds: float = 0.0  # the slowest answer before the attack
    cpu_stretch: float = 1.0  # the service's time on a CPU and waiting for one, divided by its time on a CPU

    @property
    def slowest_seconds(self) -> float:
        return max(self.latencies, default=float("inf"))

    @property
    def max_seconds(self) -> float:
        """How long an answer may take. The bound grows with the time that the service waits for a CPU."""
        return _MAX_ANSWER_SECONDS * self.cpu_stretch + 3 * self.calm_seconds

    def __str__(self) -> str:
        return (
            f"service {self.grown_bytes / 1e6:+.0f} MB, {self.cpu_seconds:.1f} s CPU in {self.wall_seconds:.1f} s, "
            f"stretched by {self.cpu_stretch:.1f}; "
            f"innocent caller: slowest of {len(self.latencies)} answers {self.slowest_seconds:.2f} s "
            f"(before {self.calm_seconds:.2f} s), {len(self.refused)} refused"
        )


def check_that_others_are_served(name: str, attack: Callable[[], Meter], capsys: pytest.CaptureFixture[str]) -> None:
    """Run `attack` and print its figures. Fail if the innocent caller is refused, or waits too long.

    Other programs may use the machine during one attack. So a second one decides if an answer is late in the first.
    """
    for is_last in (False, True):
        meter = attack()
        with capsys.disabled():
            print(f"\n{name}: {meter}")
        assert meter.refused == []
        if is_last or meter.slowest_seconds < meter.max_seconds:
            assert meter.slowest_seconds < meter.max_seconds
            return


def client_from(address: str, url: str) -> httpx.Client:
    """Return a client that asks `url` from `address`, over plain HTTP only.

    Without verify=False each client would read all certificates: 45 ms of CPU time, in the process that also measures.
    """
    transport = httpx.HTTPTransport(local_address=address, verify=False)
    return httpx.Client(base_url=url, timeout=60, transport=transport)


@contextmanager
def metered(url: str, pid: int, image_url: str, address: str = "127.0.9.9") -> Iterator[Meter]:
    """Measure process `pid` while the context is open, and ask it for `image_url` from `address` again and again."""
    meter, ended, process = Meter(), threading.Event(), psutil.Process(pid)

    def watch_memory() -> None:
        while not ended.wait(_SAMPLE_SECONDS):
            meter.grown_bytes = max(meter.grown_bytes, process.memory_info().rss - before)

    def ask() -> None:
        with client_from(address, url) as client:
            while not ended.wait(_PAUSE_SECONDS):
                asked = time.monotonic()
                try:
                    response = client.post("/", json={"images": [image_url]})
                    if image_url not in response.json()["successful_results"]:
                        meter.refused.append(response.text)
                except httpx.HTTPError as error:
                    meter.refused.append(repr(error))
                meter.latencies.append(time.monotonic() - asked)

    asking = threading.Thread(target=ask)
    asking.start()
    while len(meter.latencies) < _CALM_ANSWERS:
        time.sleep(_SAMPLE_SECONDS)
    meter.calm_seconds = max(meter.latencies)
    meter.latencies.clear()
    ran_before, queued_before = _scheduled_seconds(pid)
    before, cpu_before, started = process.memory_info().rss, process.cpu_times(), time.monotonic()
    watching = threading.Thread(target=watch_memory)
    watching.start()
    try:
        yield meter
    finally:
        ended.set()
        asking.join()
        watching.join()
        cpu = process.cpu_times()  # raises if the process has ended
        meter.cpu_seconds = cpu.user + cpu.system - cpu_before.user - cpu_before.system
        meter.wall_seconds = time.monotonic() - started
        ran, queued = _scheduled_seconds(pid)
        meter.cpu_stretch += (queued - queued_before) / max(ran - ran_before, 0.001)


def _scheduled_seconds(pid: int) -> tuple[float, float]:
    """Return how long the main thread of `pid` has run on a CPU, and how long it has waited for one."""
    try:
        ran, queued, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except OSError:  # a kernel without scheduler statistics
        return 0.0, 0.0
    return int(ran) / 1e9, int(queued) / 1e9
