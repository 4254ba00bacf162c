"""Ten times the load that the service can handle: throughput stays the same, and the excess is refused at once."""

from __future__ import annotations

import itertools
import time

import psutil
import pytest
from aiohttp import web

from tests.support.frontend_process import frontend_process
from tests.support.image_server import ImageServer
from tests.support.images import encoded, halves
from tools.measure.soak.checked_load import Case, CheckedLoad
from tools.serve.triton_process import TritonServer

SECONDS = 15
MAX_BACKLOG = "64"  # the default would need hundreds of clients
CLIENTS = 12  # enough to keep everything busy, few enough that all are accepted
CROWD = 64  # a quarter is accepted; the others ask again 0.1 s after a refusal: about 500 requests a second


def load(url: str, cases: list[Case], clients: int, seconds: float) -> tuple[CheckedLoad, float]:
    """Return the load after `seconds`, and the requests served per second."""
    with CheckedLoad(url, cases, clients, images_per_request=5) as running:
        time.sleep(2)
        start = time.monotonic()
        time.sleep(seconds)
        end = time.monotonic()
    served = [a for a in running.answers if a.verdict == "complete" and start <= a.at + a.seconds <= end]
    return running, len(served) / seconds


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
        calm, best = load(url, cases, CLIENTS, SECONDS)
        before = frontend.memory_info().rss
        crowd, served = load(url, cases, CROWD, SECONDS)
        dropped = time.monotonic()
        grown = frontend.memory_info().rss - before
        with CheckedLoad(url, cases, 2, images_per_request=5) as afterwards:
            afterwards.wait_for_complete(10, dropped, timeout_seconds=10)
    refusals = sorted(a.seconds for a in crowd.answers if a.verdict == "refused")
    with capsys.disabled():
        print(
            f"\nserved {5 * best:.0f} images/s at its best, {5 * served:.0f} with {len(refusals) / SECONDS:.0f} "
            f"refusals/s (median {1000 * refusals[len(refusals) // 2]:.0f} ms); {grown / 1e6:.0f} MB more"
        )
    assert set(calm.verdicts()) == {"complete"}, calm.faults()
    assert set(crowd.verdicts()) == {"complete", "refused"}, crowd.faults()
    assert len(refusals) > 5 * len([a for a in crowd.answers if a.verdict == "complete"])
    assert set(afterwards.verdicts()) == {"complete"}
    assert grown < 60e6
