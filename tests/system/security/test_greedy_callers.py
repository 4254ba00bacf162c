"""Callers that take all they can get: others still get their share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.support.crowd import connections, post_of
from tests.support.hostile_server import hostile_server, silence
from tests.support.image_server import ImageServer
from tests.support.images import GREEN, flat
from tests.support.meter import Meter, check_that_others_are_served, client_from, metered
from tests.support.processes import eventually

INNOCENT_CALLERS = 38
MIN_ANSWERS = 40
PHOTO = flat(GREEN)


def ask_as_innocent_callers(url: str, image_server: ImageServer, with_upload: bool) -> list[str]:
    """Send one request from each of many addresses; return the answers without a classified image."""

    def ask(n: int) -> str | None:
        with client_from(f"127.0.10.{n + 1}", url) as client:
            if with_upload:
                response = client.post("/files", files=[("files", ("a.png", PHOTO))])
            else:
                response = client.post("/", json={"images": [image_server.add(f"/innocent{n}.png", PHOTO)]})
        return None if response.json()["successful_results"] else response.text

    with ThreadPoolExecutor(INNOCENT_CALLERS) as pool:
        return [answer for answer in pool.map(ask, range(INNOCENT_CALLERS)) if answer]


@pytest.mark.parametrize("callers", [1, 4])
def test_crowd_of_slow_urls_starves_nobody(
    callers: int, frontend: tuple[str, int], image_server: ImageServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """330 requests for one slow URL each: they starved 38 of 39 other callers."""
    url, pid = frontend
    good = image_server.add("/good.png", PHOTO)

    def attack() -> Meter:
        with ExitStack() as stack:
            slow = stack.enter_context(hostile_server(silence))
            meter = stack.enter_context(metered(url, pid, good))
            for n in range(330):
                address = f"127.0.2.{n % callers + 1}"
                stack.enter_context(connections(url, [address], post_of([f"{slow}/{n}.jpg"])))
            meter.refused += ask_as_innocent_callers(url, image_server, with_upload=False)
            assert eventually(lambda: len(meter.latencies) >= MIN_ANSWERS, 60)
        return meter

    check_that_others_are_served(f"330 slow URLs of {callers} callers", attack, capsys)


@pytest.mark.parametrize("callers", [1, 14])
def test_stalled_uploads_starve_nobody(
    callers: int, frontend: tuple[str, int], image_server: ImageServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """14 uploads that stop after 19 MB, more than all the memory for images: they starved 38 of 38 other callers."""
    url, pid = frontend
    good = image_server.add("/good.png", PHOTO)
    start = (
        b"POST /files HTTP/1.1\r\nHost: x\r\nContent-Length: 19500000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        b'Content-Disposition: form-data; name="files"; filename="a"\r\n\r\n' + bytes(19_000_000)
    )
    addresses = [f"127.0.3.{n % callers + 1}" for n in range(14)]

    def attack() -> Meter:
        with metered(url, pid, good) as meter, connections(url, addresses, start):
            meter.refused += ask_as_innocent_callers(url, image_server, with_upload=True)
            meter.refused += ask_as_innocent_callers(url, image_server, with_upload=False)
            assert eventually(lambda: len(meter.latencies) >= MIN_ANSWERS, 60)
        return meter

    check_that_others_are_served(f"14 stalled uploads of {callers} callers", attack, capsys)


def test_stalled_bodies_starve_nobody(
    frontend: tuple[str, int], image_server: ImageServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """86 connections with 64 MB of stalled JSON bodies: they starved 55 of 61 other callers."""
    url, pid = frontend
    good = image_server.add("/good.png", PHOTO)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"

    def attack() -> Meter:
        with metered(url, pid, good) as meter, connections(url, ["127.0.4.1"] * 86, head + b" " * 750_000):
            meter.refused += ask_as_innocent_callers(url, image_server, with_upload=False)
            assert eventually(lambda: len(meter.latencies) >= MIN_ANSWERS, 60)
        return meter

    check_that_others_are_served("86 stalled bodies", attack, capsys)
