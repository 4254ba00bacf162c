"""Servers that flood a download: the service stays small, and others are answered as if nothing happened."""

from __future__ import annotations

import gzip

import pytest

from tests.support.hostile_server import endless, hostile_server
from tests.support.image_server import ImageServer
from tests.support.images import GREEN, flat
from tests.support.meter import Meter, check_that_others_are_served, client_from, metered

FRONTEND_SETTINGS = {"download_max_bytes": "2000000"}
URLS = 16
MIN_ANSWERS = 20
MAX_GROWN_BYTES = 60e6
OK = b"HTTP/1.1 200 OK\r\n"
GZIP = OK + b"Content-Encoding: gzip\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
FLOODS = {
    "early hints": endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "early hints with links": endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"),
    "continue": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "headers": endless(OK, b"X-Header: value\r\n"),
    "one header": endless(OK + b"X: ", b"y" * 1000),
    "empty headers": endless(OK, b":\r\n"),
    "folded header": endless(OK + b"X: y\r\n", b" y\r\n"),
    "empty lines": endless(b"", b"\r\n"),
    "reason phrase": endless(b"HTTP/1.1 200 ", b"OK " * 100),
    "not HTTP": endless(b"", b"\xff\xd8\xff\xe0" * 100),
    "chunk extension": endless(CHUNKED + b"1;", b"x=y;" * 100),
    "chunks of one byte": endless(CHUNKED, b"1\r\nx\r\n"),
    "chunk sizes with zeros": endless(CHUNKED, b"000000000000001\r\nx\r\n"),
    "trailers": endless(CHUNKED + b"1\r\nx\r\n0\r\n", b"X: y\r\n"),
    "after the response": endless(OK + b"Content-Length: 1\r\n\r\nx", b"HTTP/1.1 200 OK\r\n\r\n"),
    "after the last chunk": endless(CHUNKED + b"1\r\nx\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
    "body": endless(OK + b"\r\n", b"x" * 1000),
    "gzip bomb": endless(GZIP + gzip.compress(bytes(400_000_000), 1), b"x"),
    "gzip of nothing": endless(
        OK + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\xff", b"\0\0\0\xff\xff" * 100
    ),
    "gzip name": endless(OK + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x08\0\0\0\0\0\xff", b"name" * 100),
    "redirects with floods": endless(b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", b"x" * 1000),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_flood_costs_little_memory_and_delays_nobody(
    kind: str, frontend: tuple[str, int], image_server: ImageServer, capsys: pytest.CaptureFixture[str]
) -> None:
    url, pid = frontend
    good = image_server.add("/good.png", flat(GREEN))

    def attack() -> Meter:
        requests = 0
        with (
            hostile_server(FLOODS[kind]) as hostile,
            metered(url, pid, good) as meter,
            client_from("127.0.0.1", url) as client,
        ):
            while len(meter.latencies) < MIN_ANSWERS or not requests:
                images = [f"{hostile}/{requests}/{n}.jpg" for n in range(URLS)]
                answer = client.post("/", json={"images": images}).json()
                assert len(answer["failed_results"]) == URLS
                requests += 1
        assert meter.grown_bytes < MAX_GROWN_BYTES
        return meter

    check_that_others_are_served(kind, attack, capsys)
