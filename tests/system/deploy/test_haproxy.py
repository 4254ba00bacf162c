"""The proxy's own behaviour: what it passes on, what it keeps, what it says when there is nobody to ask."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from aiohttp import web

from frontend.api.schemas import ClassifyResponse
from frontend.settings import Settings
from frontend.telemetry.request_id import request_id
from tests.support.image_server import ImageServer
from tests.support.name_server import NameServer
from tests.support.processes import eventually
from tests.support.programs import path_of
from tests.support.proxy import CONFIGURATION, RELOAD, Proxy, running_proxy
from tools.serve.ports import free_port

pytestmark = pytest.mark.needs("haproxy", "nc")
RELOADS = 25


@pytest.fixture(scope="module")
def backend() -> Iterator[ImageServer]:
    """A server that is ready and shows what it was sent; what else it does, each test says."""

    async def ready(request: web.Request) -> web.Response:
        return web.Response()

    async def echo(request: web.Request) -> web.Response:
        return web.json_response({"path": request.raw_path, "headers": dict(request.headers)})

    with ImageServer() as server:
        server.add("/health/ready", ready)
        for path in ("/", "/echo?token=secret", "/metricsfoo"):
            server.add(path, echo)
        yield server


@pytest.fixture(scope="module")
def proxy(backend: ImageServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    log = tmp_path_factory.mktemp("proxy") / "log"
    with NameServer("127.0.0.1") as names, running_proxy(names, backend.port, log) as proxy:
        proxy.wait_for_servers(1)
        yield proxy


def test_the_configuration_is_valid_without_any_variable() -> None:
    program = path_of("haproxy")
    bare = {name: value for name, value in os.environ.items() if not name.startswith("BIRDS_")}
    check = subprocess.run([program, "-c", "-f", str(CONFIGURATION)], env=bare, capture_output=True, text=True)
    assert check.returncode == 0, check.stderr
    assert "WARNING" not in check.stderr


def test_nothing_listens_beyond_the_loopback_interface_unless_told_to() -> None:
    text = CONFIGURATION.read_text()
    assert {line.split()[1] for line in text.splitlines() if line.strip().startswith("bind ")} == {
        '"${BIRDS_PROXY_LISTEN}"',
        '"${BIRDS_PROXY_METRICS}"',
    }
    assert 'stats socket "ipv4@${BIRDS_PROXY_ADMIN}" level user' in text
    assert "presetenv BIRDS_PROXY_ADMIN 127.0.0.1:" in text
    assert "presetenv BIRDS_PROXY_LISTEN 127.0.0.1:" in text
    assert "presetenv BIRDS_PROXY_METRICS 127.0.0.1:" in text


def test_it_waits_longer_than_a_request_may_take() -> None:
    (line,) = [line for line in CONFIGURATION.read_text().splitlines() if "presetenv BIRDS_PROXY_TIMEOUT" in line]
    assert int(line.split()[2].removesuffix("s")) > Settings.model_fields["request_timeout"].default


def test_the_address_that_a_client_claims_is_replaced_by_its_own(proxy: Proxy) -> None:
    lies = {"X-Forwarded-For": "8.8.8.8", "Forwarded": "for=8.8.8.8", "X-Real-IP": "8.8.8.8"}
    seen = httpx.get(proxy.url, headers=lies).json()["headers"]
    assert seen["X-Forwarded-For"] == "127.0.0.1"
    assert "8.8.8.8" not in seen.values()


@pytest.fixture(scope="module")
def behind_another(backend: ImageServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that believes another one, which would ask it from 127.0.0.2 or 127.0.1.0/24."""
    log = tmp_path_factory.mktemp("behind") / "log"
    trusted = {"BIRDS_PROXY_TRUSTED": "127.0.0.2 127.0.1.0/24"}
    with NameServer("127.0.0.1") as names, running_proxy(names, backend.port, log, **trusted) as proxy:
        proxy.wait_for_servers(1)
        yield proxy


def client_at(address: str) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(local_address=address))


@pytest.mark.parametrize("address", ["127.0.0.2", "127.0.1.9"])
def test_a_trusted_proxy_says_who_asks_by_its_last_word(behind_another: Proxy, address: str) -> None:
    said = {"X-Forwarded-For": "8.8.8.8, 203.0.113.7", "X-Forwarded-Proto": "https", "X-Request-ID": f"by-{address}"}
    with client_at(address) as client:
        seen = client.get(behind_another.url, headers=said).json()["headers"]
    assert (seen["X-Forwarded-For"], seen["X-Forwarded-Proto"]) == ("203.0.113.7", "https")
    assert logged(behind_another, f"by-{address}")["client"] == "203.0.113.7"


def test_so_for_each_request_of_a_connection(behind_another: Proxy) -> None:
    clients = ["203.0.113.7", "2001:db8::7", "203.0.113.8"]
    with client_at("127.0.0.2") as proxy:
        seen = [proxy.get(behind_another.url, headers={"X-Forwarded-For": client}).json() for client in clients]
        assert [answer["headers"]["X-Forwarded-For"] for answer in seen] == clients
        unnamed = proxy.get(behind_another.url).json()["headers"]
    assert (unnamed["X-Forwarded-For"], unnamed["X-Forwarded-Proto"]) == ("127.0.0.2", "http")


def test_others_are_not_believed_beside_a_trusted_proxy(behind_another: Proxy) -> None:
    with client_at("127.0.0.3") as client:
        said = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
        seen = client.get(behind_another.url, headers=said).json()["headers"]
    assert (seen["X-Forwarded-For"], seen["X-Forwarded-Proto"]) == ("127.0.0.3", "http")


@pytest.mark.parametrize(
    "offered", ["mine", "a" * 128, "9f8.:/+=@-_", "a" * 129, "-mine", "with space", 'quo"ted', "a,b", "ä", "", "a\tb"]
)
def test_it_keeps_the_request_ids_that_a_frontend_keeps(proxy: Proxy, offered: str) -> None:
    headers = {b"X-Request-ID": offered.encode()}
    passed_on = httpx.get(proxy.url, headers=headers).json()["headers"]["X-Request-ID"]
    assert (passed_on == offered) == (request_id(offered) == offered)
    assert request_id(passed_on) == passed_on
    assert logged(proxy, passed_on)["path"] == "/"


def test_one_id_is_left_of_several(proxy: Proxy) -> None:
    ids = [("X-Request-ID", "one"), ("X-Request-ID", "no good"), ("X-Request-ID", "two")]
    assert httpx.get(proxy.url, headers=ids).json()["headers"]["X-Request-ID"] == "two"


def test_a_request_without_an_id_gets_one(proxy: Proxy) -> None:
    first, second = (httpx.get(proxy.url).json()["headers"]["X-Request-ID"] for _ in range(2))
    assert len(first) == 36
    assert first != second


def logged(proxy: Proxy, request_id: str) -> dict[str, Any]:
    """The line of the request with this id, once it is there."""

    def lines() -> list[dict[str, Any]]:
        return [line for line in proxy.requests() if line["request_id"] == request_id]

    assert eventually(lambda: bool(lines()))
    return lines()[-1]


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/%6detrics", "/METRICS", "/metrics?x=1", "/birds/metrics"])
def test_the_frontends_metrics_are_not_published(proxy: Proxy, backend: ImageServer, path: str) -> None:
    asked = backend.requests.total()
    assert httpx.get(f"{proxy.url}{path}").status_code == 404
    assert not any("metrics" in path.lower() for path in backend.requests), asked


def test_its_own_metrics_are_at_another_port(proxy: Proxy) -> None:
    assert "haproxy_frontend_http_requests_total" in httpx.get(proxy.metrics_url).text
    assert httpx.get(proxy.metrics_url.replace("/metrics", "/")).status_code == 404


def test_its_log_is_json_without_the_query(proxy: Proxy) -> None:
    httpx.get(f"{proxy.url}/echo?token=secret", headers={"X-Request-ID": "for-the-log"})
    line = logged(proxy, "for-the-log")
    assert (line["path"], line["status"], line["method"]) == ("/echo", 200, "GET")
    assert "secret" not in proxy.log.read_text()


def test_it_has_given_up_root(proxy: Proxy) -> None:
    workers = psutil.Process(proxy.process.pid).children()
    assert workers
    assert all(worker.uids().real != 0 for worker in workers)


def test_lines_of_a_stream_arrive_as_they_are_written(proxy: Proxy, backend: ImageServer) -> None:
    release = threading.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        await response.write(b'{"line": 1}\n')
        await asyncio.to_thread(release.wait, 10)
        await response.write(b'{"line": 2}\n')
        return response

    backend.add("/stream", stream)
    with httpx.stream("GET", f"{proxy.url}/stream") as response:
        lines = response.iter_lines()
        assert json.loads(next(lines)) == {"line": 1}
        release.set()
        assert json.loads(next(lines)) == {"line": 2}


def test_a_client_that_hangs_up_is_hung_up_on(proxy: Proxy, backend: ImageServer) -> None:
    started, cancelled = threading.Event(), threading.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        started.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return web.Response()

    backend.add("/slow", slow)
    with socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2]))) as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: birds\r\n\r\n")
        assert started.wait(60)
    assert cancelled.wait(60)


def test_an_answer_that_breaks_off_before_it_began_is_asked_for_again(proxy: Proxy, backend: ImageServer) -> None:
    """A killed frontend looks like this from here."""
    bodies: list[bytes] = []

    async def breaks_once(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        if len(bodies) == 1:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({})

    backend.add("/?breaks-once", breaks_once)
    body = json.dumps({"images": [f"https://example.org/{number}/{'x' * 60}.jpg" for number in range(500)]})
    assert httpx.post(f"{proxy.url}/?breaks-once", content=body, timeout=60).status_code == 200
    assert bodies == [body.encode()] * 2


def test_what_a_frontend_refuses_is_not_asked_for_again(proxy: Proxy, backend: ImageServer) -> None:
    async def busy(request: web.Request) -> web.Response:
        return web.json_response({"errors": ["busy"]}, status=503, headers={"Retry-After": "7"})

    backend.add("/busy", busy)
    answer = httpx.post(f"{proxy.url}/busy")
    assert (answer.status_code, answer.json(), answer.headers["Retry-After"]) == (503, {"errors": ["busy"]}, "7")
    assert backend.requests["/busy"] == 1


def test_with_no_frontend_it_says_so_in_the_documented_shape(tmp_path: Path) -> None:
    with NameServer() as names, running_proxy(names, 1, tmp_path / "log") as proxy:
        answer = httpx.post(proxy.url, json={"images": []})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert_documented(answer.json())


def test_an_answer_that_is_too_late_is_a_503(tmp_path: Path, backend: ImageServer) -> None:
    async def never(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    backend.add("/never", never)
    with (
        NameServer("127.0.0.1") as names,
        running_proxy(names, backend.port, tmp_path / "log", BIRDS_PROXY_TIMEOUT="1s") as proxy,
    ):
        proxy.wait_for_servers(1)
        answer = httpx.get(f"{proxy.url}/never", timeout=60)
    assert answer.status_code == 503
    assert_documented(answer.json())


def workers(proxy: Proxy) -> set[int]:
    """The process ids of HAProxy's workers: after a reload the old and the new one, for a moment."""
    return {child.pid for child in psutil.Process(proxy.process.pid).children()}


def test_reloads_under_load_refuse_no_request(proxy: Proxy) -> None:
    """Each new process must know the frontend before it accepts its first connection."""
    answers: list[object] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=20)
            try:
                connection.request("GET", "/")
                answers.append(connection.getresponse().status)
            except (OSError, http.client.HTTPException) as error:
                answers.append(error)
            finally:
                connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(RELOADS):
            before, asked = workers(proxy), len(answers)
            proxy.reload()
            assert eventually(lambda: bool(workers(proxy)) and not before & workers(proxy))  # noqa: B023
            assert eventually(lambda: len(answers) >= asked + 16)  # noqa: B023
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    print(f"{len(answers)} requests during {RELOADS} reloads")
    assert Counter(map(repr, answers)) == {"200": len(answers)}


def test_reload_without_a_running_proxy_fails(proxy: Proxy, tmp_path: Path) -> None:
    """The file with the servers is what the next process starts from, so a failure must not empty it."""
    state = tmp_path / "servers"
    state.write_text("known servers")
    environment = {
        **proxy.environment,
        "BIRDS_PROXY_ADMIN": f"127.0.0.1:{free_port()}",
        "BIRDS_PROXY_STATE": str(state),
    }
    done = subprocess.run([RELOAD, str(os.getpid())], env=environment, capture_output=True, text=True, timeout=30)
    assert (done.returncode, state.read_text()) == (1, "known servers")
    assert "did not list its servers" in done.stderr


def assert_documented(body: dict[str, Any]) -> None:
    assert ClassifyResponse.model_validate(body).errors
    assert set(body) == set(ClassifyResponse.model_fields)
