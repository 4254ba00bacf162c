"""The load generator, in its own process, against a real server with good and bad habits."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from aiohttp import web

from tests.support.image_server import ImageServer
from tools.measure.bench import load
from tools.measure.bench.load import LoadResult, LoadSpec
from tools.measure.bench.own_process import own_process
from tools.measure.bench.plan import IMAGES_PER_CALL
from tools.serve.ports import free_port

SERVICE_SECONDS = 0.02


@pytest.fixture(scope="module")
def worker() -> Iterator[ProcessPoolExecutor]:
    with own_process() as worker:
        yield worker


class Service(ImageServer):
    """Answers every call with as many results as it has URLs, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[dict[str, Any]] = []
        self.add("/", self._classify)

    async def _classify(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        await asyncio.sleep(SERVICE_SECONDS)
        return web.json_response({"successful_results": {url: [] for url in body["images"]}})


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    with service:
        yield service


def ask(worker: ProcessPoolExecutor, spec: LoadSpec) -> LoadResult:
    return worker.submit(load.run, spec).result()


def test_exactly_the_requested_calls_are_made(worker: ProcessPoolExecutor, service: Service) -> None:
    result = ask(worker, LoadSpec(service.url("/"), "http://images", concurrency=4, calls=10))
    assert len(service.bodies) == len(result.latencies_ms) == 10
    assert {len(body["images"]) for body in service.bodies} == {IMAGES_PER_CALL}
    assert result.failed_images == 0
    assert result.total_images == 10 * IMAGES_PER_CALL
    assert min(result.latencies_ms) >= 1000 * SERVICE_SECONDS


def test_every_image_is_new(worker: ProcessPoolExecutor, service: Service) -> None:
    for _ in range(2):
        ask(worker, LoadSpec(service.url("/"), "http://images", 2, calls=10))
    urls = [url for body in service.bodies for url in body["images"]]
    assert len(set(urls)) == 100


def test_throughput_covers_the_measured_time(worker: ProcessPoolExecutor, service: Service) -> None:
    """Four callers, five images in a call, and a server that takes a fixed time: no load of the machine gives more."""
    spec = LoadSpec(service.url("/"), "http://images", concurrency=4, seconds=0.5, warm_up_seconds=0.1)
    result = ask(worker, spec)
    assert 0 < result.images_per_second <= 4 * 5 / SERVICE_SECONDS
    assert result.total_images == 5 * len(service.bodies) > result.images_per_second * 0.5


async def slow(_: web.Request) -> web.Response:
    await asyncio.sleep(5)
    return web.Response()


async def broken(_: web.Request) -> web.Response:
    return web.Response(status=500)


def test_images_of_calls_that_fail_are_counted(worker: ProcessPoolExecutor, service: Service) -> None:
    broken_url, slow_url = service.add("/broken", broken), service.add("/slow", slow)
    for url in (broken_url, slow_url, f"http://127.0.0.1:{free_port()}/"):
        result = ask(worker, LoadSpec(url, "http://images", 2, calls=4, timeout_seconds=0.2))
        assert result.failed_images == 20
        assert result.images_per_second == 0


def test_load_generator_does_not_import_tensorflow(worker: ProcessPoolExecutor) -> None:
    with open(f"/proc/{worker.submit(os.getpid).result()}/maps") as maps:
        assert "tensorflow" not in maps.read()
