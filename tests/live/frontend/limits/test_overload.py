"""Ten times the load that the service can handle: throughput stays the same, and the excess is refused at once.

The load and the image server use the same cores. So the figures also say how much CPU time each side took.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

import psutil
import pytest
from aiohttp import web

from tests.support.checked_load import CheckedLoad
from tests.support.frontend_process import frontend_process
from tests.support.image_server import ImageServer
from tests.support.images import encoded, halves
from tools.measure.soak.answers import Case
from tools.serve.triton_process import TritonServer

SECONDS = 15
IMAGES = 5  # of each request
MAX_BACKLOG = "64"  # the default would need hundreds of clients
CLIENTS = 12  # enough to keep everything busy, few enough that all are accepted
CROWD = 64  # a quarter is accepted; the others ask again 0.1 s after a refusal: about 500 requests a second


@dataclass(frozen=True)
class Load:
    """`images_per_second` were served. CPU time in seconds: `service_cpu` of the frontend and Triton, `own_cpu` of the
    load and the image server, which are this process."""

    checked: CheckedLoad
    images_per_second: float
    service_cpu: float
    own_cpu: float

    def __str__(self) -> str:
        per_cpu_second = self.images_per_second * SECONDS / self.service_cpu
        return (
            f"{self.images_per_second:.0f} images/s, {per_cpu_second:.0f} per CPU second of the service "
            f"(service {self.service_cpu / SECONDS:.2f} cores, load and image server {self.own_cpu / SECONDS:.2f})"
        )


def load(url: str, cases: list[Case], clients: int, service: list[psutil.Process]) -> Load:
    """Send requests from `clients` for a while."""
    with CheckedLoad(url, cases, clients, IMAGES) as running:
        time.sleep(2)
        start, cpu, own_cpu = time.monotonic(), cpu_seconds(service), time.process_time()
        time.sleep(SECONDS)
        end, cpu, own_cpu = time.monotonic(), cpu_seconds(service) - cpu, time.process_time() - own_cpu
    served = [a for a in running.answers if a.verdict == "complete" and start <= a.at + a.seconds <= end]
    return Load(running, IMAGES * len(served) / SECONDS, cpu, own_cpu)


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """The CPU time that the processes and their children have used."""
    everyone = {member for process in processes for member in (process, *process.children(recursive=True))}
    times = [member.cpu_times() for member in everyone]
    return sum(one.user + one.system for one in times)


@pytest.mark.slow
def test_tenfold_load_keeps_throughput_and_memory(
    triton: TritonServer, image_server: ImageServer, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = encoded(halves((255, 0, 0), (215, 0, 40), (640, 480)), "JPEG")
    serial = itertools.count()

    async def never_the_same_file(request: web.Request) -> web.Response:
        """Bytes after the end of a JPEG change the file and not the image, so that no answer is cached."""
        return web.Response(body=photo + str(next(serial)).encode())

    cases = [Case(image_server.add(f"/{n}.jpg", never_the_same_file), bird="Rubra maxima") for n in range(200)]
    with frontend_process(triton.grpc_url, max_backlog=MAX_BACKLOG) as (url, pid):
        frontend = psutil.Process(pid)
        service = [frontend, psutil.Process(triton.pid)]
        calm = load(url, cases, CLIENTS, service)
        before = frontend.memory_info().rss
        crowd = load(url, cases, CROWD, service)
        dropped = time.monotonic()
        grown = frontend.memory_info().rss - before
        with CheckedLoad(url, cases, 2, IMAGES) as afterwards:
            afterwards.wait_for_complete(10, dropped, timeout_seconds=10)
    refusals = sorted(a.seconds for a in crowd.checked.answers if a.verdict == "refused")
    with capsys.disabled():
        print(f"\nbest: {calm}\nwith {len(refusals) / SECONDS:.0f} refusals/s: {crowd}")
        print(f"a refusal takes {1000 * refusals[len(refusals) // 2]:.0f} ms (median); {grown / 1e6:.0f} MB more")
    assert set(calm.checked.verdicts()) == {"complete"}, calm.checked.faults()
    assert set(crowd.checked.verdicts()) == {"complete", "refused"}, crowd.checked.faults()
    assert len(refusals) > 5 * len([a for a in crowd.checked.answers if a.verdict == "complete"])
    assert set(afterwards.verdicts()) == {"complete"}
    assert grown < 60e6
