"""What a refusal costs under overload: the whole frontend process, HTTP server and log line included."""

from __future__ import annotations

import itertools
import time
from contextlib import nullcontext

import psutil
import pytest

from tests.support.crowd import connections, post_of
from tests.support.hostile_server import hostile_server, silence
from tests.support.metrics import Scraped
from tests.support.processes import eventually
from tests.support.raw_http import connect, read_response

# The slow images must not time out before the measurement ends.
FRONTEND_SETTINGS = {"max_backlog": "0", "log_level": "info", "download_timeout": "300", "request_timeout": "600"}
REFUSALS = 500
BUSY_CALLERS = 6  # with five slow images each; four are accepted, and then all others refused


def test_overload_is_refused_cheaply(frontend: tuple[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    url, pid = frontend
    process = psutil.Process(pid)
    addresses = [f"127.0.5.{n}" for n in range(1, BUSY_CALLERS + 1)]
    with (
        hostile_server(silence) as slow,
        connections(url, addresses, post_of([f"{slow}/{n}.jpg" for n in range(5)])),
        connect(url) as connection,
    ):

        def refuse(images: int, is_new: bool) -> int:
            request = post_of([f"http://127.0.0.1:1/{n}.jpg" for n in range(images)])
            with connect(url) if is_new else nullcontext(connection) as used:
                used.sendall(request)
                return read_response(used).status

        # A request that came before them would be accepted, and last until their downloads have failed too.
        assert eventually(lambda: Scraped(url)("birds_images_in_flight") == 20)
        assert eventually(lambda: refuse(5, False) == 503)
        for images, is_new in itertools.product((1, 5), (False, True)):
            before, own_before = process.cpu_times(), time.process_time()
            statuses = {refuse(images, is_new) for _ in range(REFUSALS)}
            after, own = process.cpu_times(), time.process_time() - own_before
            service = after.user + after.system - before.user - before.system
            with capsys.disabled():
                print(
                    f"\nrefusals of {images} images{' on new connections' if is_new else ''}: "
                    f"{1000 * service / REFUSALS:.2f} ms of the frontend's CPU time each, "
                    f"{1000 * own / REFUSALS:.2f} ms of the client's"
                )
            assert statuses == {503}
