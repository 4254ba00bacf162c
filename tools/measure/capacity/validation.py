"""Holds the model against reality: one and two Tritons, each on cores of its own, behind a real frontend.

What an image costs is measured first, with one Triton on all cores. From that alone the model says what the other
arrangements do; then they are measured. "Twice the hardware" on one machine means: pinned to cores.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from pydantic import BaseModel

from tools import ROOT
from tools.measure.bench import image_server, load
from tools.measure.bench.form import apply_form, parse_form
from tools.measure.bench.json_worker import JsonWorker
from tools.measure.bench.load import LoadResult, LoadSpec
from tools.measure.bench.machine import this_machine
from tools.measure.bench.plan import CALLERS
from tools.measure.bench.processes import usage
from tools.measure.capacity.costs import FRONTEND, TRITON_STEPS
from tools.models.repository import MODEL_REPOSITORY
from tools.serve.child_process import ChildProcess
from tools.serve.ports import free_port, free_triton_ports
from tools.serve.triton_process import TritonServer

_OTHERS = "others"  # the callers and the image server: on the same machine here, so a part of every sum
_START_SECONDS = 60
_WARM_UP_SECONDS = 3


class CannotValidate(Exception):
    """The machine is too small, or the service did not start; the text says which."""


class Case(BaseModel):
    """One arrangement: what the model said and what came of it, images a second."""

    name: str
    predicted: float
    measured: list[float]
    failed_images: int

    @property
    def error(self) -> float:
        """How far the prediction is off, as a part of what was measured."""
        return self.predicted / statistics.median(self.measured) - 1


class Validation(BaseModel):
    started: str
    machine: str
    form: str
    seconds: float
    cpu_ms: dict[str, float]
    cases: list[Case]


@dataclass(frozen=True)
class _Arrangement:
    """The cores of each Triton, and those of everything else."""

    name: str
    tritons: Sequence[set[int]]
    rest: set[int]

    def predict(self, triton_ms: float, rest_ms: float, utilisation: float) -> float:
        """Images a second. The rest is short of nothing where it has cores of its own, else it shares."""
        cores = set().union(*self.tritons)
        if cores & self.rest:
            return utilisation * 1000 * len(cores | self.rest) / (triton_ms + rest_ms)
        return utilisation * 1000 * min(len(cores) / triton_ms, len(self.rest) / rest_ms)


def validate(form: str, seconds: float, repeats: int) -> Validation:
    """Measure for `seconds` at a time. Takes about a minute and a half; leaves nothing running.

    Raises CannotValidate, UnknownVariant, TritonError.
    """
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise CannotValidate("two Tritons need two cores to be twice the hardware; this machine has one")
    half = len(cpus) // 2
    first, second = set(cpus[:half]), set(cpus[half : 2 * half])
    both = first | second
    arrangements = [
        _Arrangement(f"1 Triton on {half} of {2 * half} cores, the rest on the others", [first], second),
        _Arrangement(f"2 Tritons on the same {half}, the rest on the others", [first, first], second),
        _Arrangement(f"2 Tritons on {half} each, the rest on all", [first, second], both),
    ]
    with tempfile.TemporaryDirectory(prefix="birds-capacity-") as name, _Load(Path(name), form) as machine:
        _say("measuring what an image costs …")
        (result,), cpu_ms = machine.measure(_Arrangement("all", [both], both), seconds, 1)
        utilisation = min(result.images_per_second * sum(cpu_ms.values()) / 1000 / len(both), 1.0)
        triton_ms = sum(cpu_ms[step] for step in TRITON_STEPS)
        rest_ms = cpu_ms[FRONTEND] + cpu_ms[_OTHERS]
        _say(f"{result.images_per_second:.0f} images/s; {_shown(cpu_ms)}; {utilisation:.0%} of the cores in use")
        cases = []
        for arrangement in arrangements:
            predicted = arrangement.predict(triton_ms, rest_ms, utilisation)
            results, _ = machine.measure(arrangement, seconds, repeats)
            case = Case(
                name=arrangement.name,
                predicted=predicted,
                measured=[result.images_per_second for result in results],
                failed_images=sum(result.failed_images for result in results),
            )
            _say(f"{case.name}: predicted {predicted:.0f}, measured {statistics.median(case.measured):.0f} images/s")
            cases.append(case)
    return Validation(
        started=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M"),
        machine=f"{len(both)} cores of {this_machine().cpu}",
        form=form,
        seconds=seconds,
        cpu_ms=cpu_ms,
        cases=cases,
    )


class _Load:
    """The callers, the image server and a model repository in one form; everything else comes and goes."""

    def __init__(self, folder: Path, form: str) -> None:
        self._folder = folder
        self._repository = folder / "models"
        shutil.copytree(MODEL_REPOSITORY, self._repository, ignore=shutil.ignore_patterns("configs", "birds_v*", ".*"))
        apply_form(parse_form(form), self._repository)

    def __enter__(self) -> _Load:
        with ExitStack() as stack:
            self._callers = stack.enter_context(JsonWorker(load.__name__))
            port = free_port()
            command = [sys.executable, "-m", image_server.__name__, str(port)]
            self._images = ChildProcess(command, dict(os.environ), folder=ROOT)
            stack.callback(self._images.stop, 5)
            self._images_url = f"http://127.0.0.1:{port}"
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def measure(
        self, arrangement: _Arrangement, seconds: float, repeats: int
    ) -> tuple[list[LoadResult], dict[str, float]]:
        """(a result a repeat, CPU milliseconds an image by process)."""
        for pid in (self._callers.pid, self._images.pid):
            os.sched_setaffinity(pid, arrangement.rest)
        with ExitStack() as stack:
            servers = []
            for number, cpus in enumerate(arrangement.tritons):
                with _pinned(cpus):
                    server = TritonServer(free_triton_ports(), self._folder / f"{number}.log", self._repository)
                    servers.append(stack.enter_context(server))
            for server in servers:
                server.wait_until_ready()
            url = stack.enter_context(self._frontend(servers, arrangement.rest))
            self._ask(url, _WARM_UP_SECONDS)
            before = usage(os.getpid(), _OTHERS, memory=False).cpu_seconds
            results = [self._ask(url, seconds) for _ in range(repeats)]
            after = usage(os.getpid(), _OTHERS, memory=False).cpu_seconds
        images = sum(result.total_images for result in results)
        return results, {role: 1000 * (after[role] - before.get(role, 0)) / images for role in after}

    @contextmanager
    def _frontend(self, servers: Sequence[TritonServer], cpus: set[int]) -> Iterator[str]:
        port = free_port()
        settings = {
            "BIRDS_HOST": "127.0.0.1",
            "BIRDS_PORT": str(port),
            "BIRDS_TRITON_URL": ",".join(server.grpc_url for server in servers),
            "BIRDS_DOWNLOAD_ALLOW_NETWORKS": "127.0.0.0/8",
        }
        log = self._folder / "frontend.log"
        with log.open("wb") as output, _pinned(cpus):
            frontend = ChildProcess([sys.executable, "-m", "frontend"], {**os.environ, **settings}, output, ROOT)
        try:
            url = f"http://127.0.0.1:{port}/"
            _wait_until_ready(frontend, url, log)
            yield url
        finally:
            frontend.stop(15)

    def _ask(self, url: str, seconds: float) -> LoadResult:
        spec = LoadSpec(url, self._images_url, CALLERS, seconds=seconds, warm_up_seconds=0.5)
        return LoadResult(**self._callers.ask(asdict(spec)))


def _wait_until_ready(frontend: ChildProcess, url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and frontend.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}health/ready", timeout=10):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise CannotValidate(f"the frontend did not become ready:\n{log.read_text(errors='replace')[-2000:]}")


@contextmanager
def _pinned(cpus: set[int]) -> Iterator[None]:
    """What is started meanwhile runs on these cores alone, and sees no others."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _shown(cpu_ms: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f} ms" for name, value in cpu_ms.items())


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
