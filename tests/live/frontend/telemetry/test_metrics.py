"""GET /metrics: the counts are right, and clients cannot choose the value of a label."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from frontend.settings import Settings
from tests.support.frontend_server import running_frontend
from tests.support.image_server import ImageServer
from tests.support.images import GREEN, RED, flat
from tests.support.metrics import Scraped, samples
from tests.support.network import LOOPBACK
from tests.support.processes import eventually
from tools.serve.ports import free_port
from tools.serve.triton_process import TritonServer


@pytest.fixture
def fresh(triton: TritonServer) -> Iterator[str]:
    """A frontend that has counted nothing yet."""
    with running_frontend(Settings(triton_url=triton.grpc_url, download_allow_networks=LOOPBACK)) as url:
        yield url


def test_images_requests_and_bytes_are_counted(fresh: str, image_server: ImageServer) -> None:
    scraped = Scraped(fresh)
    red, green = image_server.add("/red.png", flat(RED)), image_server.add("/green.png", flat(GREEN))
    httpx.post(fresh, json={"images": [red, green, image_server.url("/missing.png"), "no URL"]}, timeout=30)
    httpx.post(fresh, json={"images": [red, red]}, headers={"Accept": "application/x-ndjson"}, timeout=30)
    httpx.post(f"{fresh}/files", files={"files": b"<html>"}, timeout=30)
    httpx.post(fresh, content="no JSON", timeout=30)
    assert scraped("birds_images_total", model_version="1", outcome="ok") == 3
    assert scraped("birds_images_total", model_version="1", outcome="download_failed") == 1
    assert scraped("birds_images_total", model_version="1", outcome="invalid_url") == 1
    assert scraped("birds_images_total", model_version="1", outcome="not_an_image") == 1
    assert scraped("birds_image_duration_seconds_count", model_version="1") == 6
    assert scraped("birds_http_requests_total", route="/", method="POST", status="200") == 2
    assert scraped("birds_http_requests_total", route="/", method="POST", status="422") == 1
    assert scraped("birds_http_requests_total", route="/files", method="POST", status="200") == 1
    assert scraped("birds_http_request_duration_seconds_count", route="/", method="POST") == 3
    assert scraped("birds_download_duration_seconds_count", outcome="ok") == 3
    assert scraped("birds_download_duration_seconds_count", outcome="failed") == 1
    assert scraped("birds_inference_duration_seconds_count", outcome="ok") == 3
    assert scraped("birds_downloaded_bytes_total") == 2 * len(flat(RED)) + len(flat(GREEN))
    assert scraped("birds_default_model_version_info", model_version="1") == 1
    assert scraped("birds_workers") == 1


def test_images_in_flight_and_queued_are_counted(fresh: str, image_server: ImageServer) -> None:
    released = asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        await released.wait()
        return web.Response(body=flat(RED))

    urls = [image_server.add(f"/slow/{number}.png", slow) for number in range(56)]
    scraped = Scraped(fresh)
    command = [sys.executable, "-c", f"import httpx; httpx.post({fresh!r}, json=dict(images={urls!r}), timeout=60)"]
    with subprocess.Popen(command) as client:
        assert eventually(lambda: scraped("birds_images_in_flight") == 48)  # the largest share of one caller
        assert scraped("birds_images_queued") == 8
        assert scraped("birds_http_requests_in_flight") == 2  # the scrape is one
        image_server.loop.call_soon_threadsafe(released.set)
        assert client.wait(60) == 0
    assert eventually(lambda: scraped("birds_http_requests_in_flight") == 1)
    assert scraped("birds_images_in_flight") == scraped("birds_images_queued") == 0


def test_disconnected_client_leaves_gauges_at_zero(fresh: str, image_server: ImageServer) -> None:
    async def endless(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    urls = [image_server.add(f"/endless/{number}.png", endless) for number in range(40)]
    for accept in ("application/json", "application/x-ndjson"):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(fresh, json={"images": urls}, headers={"Accept": accept}, timeout=httpx.Timeout(60, read=0.5))
    scraped = Scraped(fresh)
    assert eventually(lambda: scraped("birds_images_in_flight") == 0)
    assert eventually(lambda: scraped("birds_http_requests_in_flight") == 1)
    assert scraped("birds_images_queued") == 0
    assert scraped("birds_download_duration_seconds_count", outcome="failed") == 0


def test_failed_requests_are_counted_by_code(image_server: ImageServer) -> None:
    url = image_server.add("/red.png", flat(RED))
    with running_frontend(Settings(triton_url=f"127.0.0.1:{free_port()}", download_allow_networks=LOOPBACK)) as nobody:
        scraped = Scraped(nobody)
        assert 'birds_service_errors_total{code="triton_unavailable"} 0.0' in scraped.text
        assert httpx.post(nobody, json={"images": [url]}, timeout=30).status_code == 503
        assert scraped("birds_service_errors_total", code="triton_unavailable") == 1
        assert scraped("birds_http_requests_total", route="/", method="POST", status="503") == 1


def test_clients_cannot_choose_labels(fresh: str) -> None:
    httpx.get(f"{fresh}/metrics")
    httpx.get(f"{fresh}/made/up/0")
    httpx.request("PROPFIND", f"{fresh}/made/up/0")
    httpx.get(f"{fresh}/static/0.js")
    httpx.post(fresh, json={"images": ["x"], "model_version": "0"})
    before = set(samples(httpx.get(f"{fresh}/metrics").text))
    for number in range(1, 30):
        httpx.get(f"{fresh}/made/up/{number}")
        httpx.get(f"{fresh}/static/{number}.js")
        httpx.request("PROPFIND", f"{fresh}/made/up/{number}")
        httpx.post(fresh, json={"images": [f"http://10.0.0.{number}/x?{number}"], "model_version": str(number + 7)})
    after = samples(httpx.get(f"{fresh}/metrics").text)
    assert set(after) - before == set()
    assert after["birds_http_requests_total", frozenset({("route", "unmatched"), ("method", "GET"), ("status", "404")})]


def test_worker_counters_add_up_and_dead_gauges_vanish(tmp_path: Path) -> None:
    program = """
import os
from frontend.telemetry.metrics import Metrics
metrics = Metrics()
metrics.count_image("1", "ok", 0.1)
metrics.queue_images(5)
metrics.set_default_version(os.environ["DEFAULT"])
if "LAST" in os.environ:
    print(metrics.text().decode())
"""
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PATH": ""}
    for extra in ({"DEFAULT": "1"}, {"DEFAULT": "2", "LAST": "1"}):
        ended = subprocess.run(
            [sys.executable, "-c", program], env={**environment, **extra}, capture_output=True, text=True, check=True
        )
    found = samples(ended.stdout)
    assert found["birds_images_total", frozenset({("model_version", "1"), ("outcome", "ok")})] == 2
    assert found["birds_image_duration_seconds_count", frozenset({("model_version", "1")})] == 2
    assert found["birds_images_queued", frozenset()] == 5
    assert found["birds_workers", frozenset()] == 1
    assert ("birds_default_model_version_info", frozenset({("model_version", "1")})) not in found
