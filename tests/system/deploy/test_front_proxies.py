"""nginx and Caddy with the configurations of deploy/proxy/: TLS, and everything below /birds/."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import threading
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest
from aiohttp import web
from anyio.from_thread import start_blocking_portal

from frontend.settings import Settings
from frontend.telemetry.logging import REQUEST
from tests.support.fake_triton import FakeTriton, running_tritons
from tests.support.front_proxies import FRONT_PROXIES, client_context
from tests.support.frontend_server import running_frontend
from tests.support.image_server import ImageServer
from tests.support.images import GREEN, RED, flat
from tests.support.network import LOOPBACK
from tests.support.raw_http import address_of

pytestmark = pytest.mark.needs("nginx", "caddy")


@pytest.fixture(scope="module", params=FRONT_PROXIES)
def trust(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The proxy's name and its folder, which holds its certificate."""
    return request.param, tmp_path_factory.mktemp(request.param)


@pytest.fixture(scope="module")
def triton_url() -> Iterator[str]:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running_tritons(FakeTriton())) as triton_url,
    ):
        yield triton_url


@pytest.fixture(scope="module")
def birds_url(trust: tuple[str, Path], triton_url: str) -> Iterator[str]:
    name, folder = trust
    settings = Settings(
        triton_url=triton_url,
        download_allow_networks=LOOPBACK,
        root_path="/birds",
        trusted_proxies=(ip_network("127.0.0.1/32"),),
    )
    with running_frontend(settings) as url, FRONT_PROXIES[name](address_of(url)[1], folder) as birds_url:
        yield birds_url


@pytest.fixture(scope="module")
def context(trust: tuple[str, Path], birds_url: str) -> ssl.SSLContext:
    return client_context(trust[1])


@pytest.fixture
def client(birds_url: str, context: ssl.SSLContext) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=birds_url, verify=context, timeout=30) as client:
        yield client


def test_an_image_url_is_classified(client: httpx.Client, image_server: ImageServer) -> None:
    url = image_server.add("/green.png", flat(GREEN))
    assert url in client.post("", json={"images": [url]}).json()["successful_results"]


def test_a_large_upload_is_classified(client: httpx.Client) -> None:
    photo = flat(GREEN) + bytes(5_000_000)  # nginx refuses more than 1 MB by default
    answer = client.post("files", files={"files": ("green.png", photo)}).json()
    assert "green.png" in answer["successful_results"]


def test_each_line_is_sent_at_once(client: httpx.Client, image_server: ImageServer) -> None:
    release = threading.Event()

    async def wait_for_release(request: web.Request) -> web.Response:
        await asyncio.to_thread(release.wait, 20)
        return web.Response(body=flat(RED))

    urls = [image_server.add("/green.png", flat(GREEN)), image_server.add("/red.png", wait_for_release)]
    headers = {"Accept": "application/x-ndjson"}
    with client.stream("POST", "", json={"images": urls}, headers=headers) as response:
        lines = response.iter_lines()
        assert json.loads(next(lines))["url"] == urls[0]
        release.set()
        assert json.loads(next(lines))["url"] == urls[1]


@pytest.mark.parametrize("path", ["", "health/ready", "models", "openapi.json", "static/page.css"])
def test_everything_is_below_the_path(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200


@pytest.mark.parametrize("path", ["metrics", "metrics/", "%6detrics", "/metrics", "./metrics", "metrics?x=1"])
def test_metrics_are_not_published(client: httpx.Client, path: str) -> None:
    url = client.base_url.copy_with(raw_path=client.base_url.raw_path + path.encode())
    response = client.get(url)
    assert b"birds_" not in response.content
    assert response.status_code in (400, 404)


def test_redirects_stay_on_the_same_origin(client: httpx.Client) -> None:
    response = client.get(str(client.base_url).removesuffix("/"))
    assert (response.status_code, response.headers["Location"]) == (308, "/birds/")


def test_a_trailing_slash_needs_no_redirect(client: httpx.Client) -> None:
    assert client.post("files/", files={"files": ("green.png", flat(GREEN))}).status_code == 200


def test_the_frontend_knows_the_client(
    birds_url: str, context: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    transport = httpx.HTTPTransport(local_address="127.0.0.2", verify=context)
    with httpx.Client(transport=transport) as client:
        client.get(f"{birds_url}models", headers={"X-Forwarded-For": "203.0.113.7", "X-Request-ID": "who-asks"})
    (line,) = [record for record in caplog.records if record.msg == REQUEST and record.__dict__["path"] == "/models"]
    assert line.__dict__["client"] == "127.0.0.2"
