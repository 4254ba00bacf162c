"""What a user is told when Triton fails or goes away during a request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import httpx
import pytest
from aiohttp import web

from frontend.inference import server_pool
from frontend.settings import Settings
from tests.support.fake_triton import FakeTriton, running_in_a_thread
from tests.support.frontend_server import running_frontend
from tests.support.image_server import ImageServer
from tests.support.images import GREEN, RED, flat
from tests.support.network import LOOPBACK

NDJSON = {"Accept": "application/x-ndjson"}


@pytest.fixture(autouse=True)
def recovery_is_unlikely_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests wait for a lost Triton, but not for as long as users do."""
    monkeypatch.setattr(server_pool, "RECOVERY_SECONDS", 0.5)


def settings(triton_url: str) -> Settings:
    return Settings(triton_url=triton_url, download_allow_networks=LOOPBACK)


def test_dead_python_stub_gets_503(image_server: ImageServer) -> None:
    """Triton does not restart a Python process that died, and still reports that it is ready."""
    triton = FakeTriton()
    triton.is_stub_dead = True
    image = image_server.add("/red.png", flat(RED))
    with running_in_a_thread(triton) as address, running_frontend(settings(address)) as url:
        response = httpx.post(url, json={"images": [image]}, timeout=60)
        assert httpx.get(f"{url}/health/ready", timeout=60).status_code == 503
    assert response.status_code == 503


def test_last_line_reports_that_triton_was_lost(image_server: ImageServer) -> None:
    """The image that is not finished waits for Triton for as long as a return is likely."""
    release = asyncio.Event()

    async def held(_: web.Request) -> web.Response:
        await release.wait()
        return web.Response(body=flat(RED))

    def run(call: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(call, image_server.loop).result(60)

    images = [image_server.add("/slow.png", held), image_server.add("/quick.png", flat(GREEN))]
    triton = FakeTriton()
    with running_frontend(settings(run(triton.start()))) as url:
        body = {"images": images}
        with httpx.stream("POST", url, json=body, headers=NDJSON, timeout=60) as response:
            lines = map(json.loads, response.iter_lines())
            assert next(lines)["url"] == images[1]
            run(triton.stop())
            image_server.loop.call_soon_threadsafe(release.set)
            (totals,) = lines
    assert totals["status"] == 503
    assert totals["succeeded"] == 1
