"""Requests whose bodies arrive all at once: the service stays small, and others are answered."""

from __future__ import annotations

import pytest

from tests.support.crowd import connections
from tests.support.image_server import ImageServer
from tests.support.images import GREEN, flat
from tests.support.meter import Meter, check_that_others_are_served, metered
from tests.support.processes import eventually

REQUESTS = 800  # fewer than the file descriptors that a process has by default
SENT_BYTES = 300_000  # of each body, which is larger
MIN_ANSWERS = 20
HEADS = {
    "JSON": b"POST / HTTP/1.1\r\nContent-Type: application/json\r\n",
    "uploads": b"POST /files HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\n",
    "bodies for no page": b"POST /nothing HTTP/1.1\r\n",
}
# Measured: 76 MB for JSON, 47 MB for uploads. The bodies that are accepted hold 50 MB, all other requests 20 kB each.
MAX_GROWN_BYTES = 200e6


@pytest.mark.parametrize("kind", HEADS)
def test_bodies_that_arrive_together_cost_little_memory(
    kind: str, frontend: tuple[str, int], image_server: ImageServer, capsys: pytest.CaptureFixture[str]
) -> None:
    url, pid = frontend
    good = image_server.add("/good.png", flat(GREEN))
    length = b"Host: x\r\nContent-Length: %d\r\n\r\n" % (SENT_BYTES + 100_000)
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n' if kind == "uploads" else b""
    start = HEADS[kind] + length + part.ljust(SENT_BYTES)

    def attack() -> Meter:
        addresses = [f"127.0.6.{n % 4 + 1}" for n in range(REQUESTS)]
        with metered(url, pid, good) as meter, connections(url, addresses, start):
            assert eventually(lambda: len(meter.latencies) >= MIN_ANSWERS, 60)
        assert meter.grown_bytes < MAX_GROWN_BYTES
        return meter

    check_that_others_are_served(f"{REQUESTS} {kind}", attack, capsys)
