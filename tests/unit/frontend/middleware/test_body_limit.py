"""Request bodies: limited in bytes and time, and in memory that callers share."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import Mock

import anyio
import httpx
import pytest
import uvicorn
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from uvicorn.server import ServerState

from frontend.__main__ import SERVER_OPTIONS
from frontend.errors import ServiceError, ServiceOverloaded
from frontend.limits.admission import Admission
from frontend.limits.memory_budget import MemoryBudget, Reservation
from frontend.middleware.body_limit import _READ_AHEAD_BYTES, BodyLimitMiddleware
from frontend.middleware.request_context import RequestContext
from frontend.server.slow_clients import SlowClientProtocol
from tests.support.frontend_server import StartFrontend
from tests.support.processes import eventually
from tests.support.raw_http import address_of, connect, read_response

MAX_BYTES = 1_000_000  # so there are 4 MB for all bodies
JSON = {"Content-Type": "application/json"}
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"


@pytest.fixture
def url(start_frontend: StartFrontend) -> str:
    return str(start_frontend(max_request_bytes=MAX_BYTES).base_url)


@contextmanager
def stalled_bodies(url: str, count: int, address: str, headers: bytes = b"") -> Iterator[list[socket.socket]]:
    """Connections from `address` that have sent nine tenths of a body of the maximum size."""
    with ExitStack() as stack:
        connections = []
        for _ in range(count):
            client = stack.enter_context(socket.create_connection(address_of(url), 10, (address, 0)))
            client.sendall(HEAD % MAX_BYTES + headers + b"\r\n" + b" " * (MAX_BYTES * 9 // 10))
            connections.append(client)
        yield connections


def post(url: str, address: str, size_bytes: int, headers: dict[str, str] | None = None) -> tuple[int, float]:
    """Send a complete body from `address`. Returns the status and how many seconds the answer took."""
    started = time.perf_counter()
    with httpx.Client(transport=httpx.HTTPTransport(local_address=address), timeout=30) as client:
        answer = client.post(url, content=b"[]".ljust(size_bytes), headers={**JSON, **(headers or {})})
    return answer.status_code, time.perf_counter() - started


def test_stalled_bodies_give_way_to_other_callers(url: str) -> None:
    with stalled_bodies(url, 20, "127.0.0.2"):
        answers = [post(url, "127.0.0.3", MAX_BYTES // 2) for _ in range(10)]
    assert [status for status, _ in answers] == [422] * 10  # their bodies were read
    print(f"slowest answer during stalled bodies: {max(seconds for _, seconds in answers):.2f} s")


def test_callers_with_keys_share_by_key(start_frontend: StartFrontend) -> None:
    client = start_frontend(max_request_bytes=MAX_BYTES, api_keys=(SecretStr("greedy"), SecretStr("modest")))
    url = str(client.base_url)
    with stalled_bodies(url, 20, "127.0.0.1", b"Authorization: Bearer greedy\r\n"):
        headers = {"Authorization": "Bearer modest"}
        assert [post(url, "127.0.0.1", MAX_BYTES // 2, headers)[0] for _ in range(5)] == [422] * 5


def test_a_stalled_body_is_refused_with_503(url: str) -> None:
    with stalled_bodies(url, 8, "127.0.0.2") as connections:
        assert post(url, "127.0.0.3", MAX_BYTES * 9 // 10)[0] == 422
        assert post(url, "127.0.0.4", MAX_BYTES * 9 // 10)[0] == 422
        response = read_response(connections[0])
    assert response.status == 503
    assert response.headers[b"retry-after"]


def test_announced_bodies_hold_memory_before_they_arrive(url: str) -> None:
    """There are 4 MB, one caller alone may hold 3 MB, and each body reserves 262 kB for what is read ahead."""
    with ExitStack() as stack:
        stalled = []
        for _ in range(12):
            connection = socket.create_connection(address_of(url), 60, ("127.0.0.2", 0))
            stalled.append(stack.enter_context(connection))
            connection.sendall(HEAD % MAX_BYTES + b"\r\n[")
        [refused], _, _ = select.select(stalled, [], [], 60)
        assert read_response(refused).status == 503
        assert post(url, "127.0.0.3", 10)[0] == 422


async def test_no_more_is_read_ahead_than_is_acquired() -> None:
    """After each read, reading stops until the application asks for more."""
    is_over = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await is_over.wait()

    config = uvicorn.Config(app, log_config=None, **SERVER_OPTIONS)
    config.load()
    protocol = SlowClientProtocol(config, ServerState(), {})
    transport = Mock(asyncio.Transport)
    transport.is_closing.return_value = False
    transport.get_extra_info.return_value = None
    protocol.connection_made(transport)
    protocol.data_received(HEAD % 10_000_000 + b"\r\n[")
    assert transport.pause_reading.called
    protocol.connection_lost(None)
    is_over.set()
    assert protocol.read_bytes == _READ_AHEAD_BYTES


async def test_a_body_evicted_between_reads_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.limits.memory_budget._STALLED_SECONDS", 0)
    messages = iter([{"type": "http.request", "body": b" " * 250, "more_body": True}])
    refusals: list[ServiceError] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert Reservation(middleware._budget, "another caller").acquire_nowait(3_900)
        try:
            await receive()
        except ServiceOverloaded as error:
            refusals.append(error)

    async def refuse(request: Request, error: ServiceError) -> Response:
        raise error

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        raise AssertionError

    middleware = BodyLimitMiddleware(app, "/", 1000, Admission(10), refuse)
    state = {"request_context": RequestContext("net:192.0.2.1", anyio.current_time() + 60)}
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "state": state}
    await middleware(scope, receive, send)
    assert len(refusals) == 1


def test_stalled_bodies_of_many_callers_lock_nobody_out(url: str) -> None:
    with ExitStack() as stack:
        for caller in range(2, 14):
            for _ in range(10):
                connection = socket.create_connection(address_of(url), 60, (f"127.0.0.{caller}", 0))
                stack.enter_context(connection).sendall(HEAD % MAX_BYTES + b"\r\n[")
        assert eventually(lambda: post(url, "127.0.0.20", MAX_BYTES)[0] == 422)


async def test_complete_bodies_keep_only_their_size() -> None:
    """The length of a chunked body is unknown until its end."""
    budget = MemoryBudget(1_000_000)
    reservation = Reservation(budget, "caller")
    assert reservation.acquire_nowait(320_000)
    reservation.shrink(10)
    assert budget.held_bytes == reservation.held_bytes == 10
    reservation.release()
    assert budget.held_bytes == 0


def test_bodies_in_memory_are_bounded() -> None:
    """40 bodies of 1,000 bytes arrive at once. There is room for four, and one more may be completed."""
    held: list[int] = []
    finished: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            held.append(middleware._budget.held_bytes)
        await asyncio.sleep(0.01)
        finished.append(scope["number"])

    async def refuse(request: Request, error: ServiceError) -> Response:
        raise error

    async def post_body(number: int) -> None:
        pieces = iter([True, True, True, False])

        async def receive() -> Message:
            await asyncio.sleep(0)
            return {"type": "http.request", "body": b" " * 250, "more_body": next(pieces)}

        async def send(message: Message) -> None:
            raise AssertionError

        state = {"request_context": RequestContext(f"net:192.0.2.{number % 5}", anyio.current_time() + 60)}
        headers = [(b"content-length", b"50")]  # so all of them may begin
        scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "state": state, "number": number}
        await middleware(scope, receive, send)

    async def post_all() -> None:
        await asyncio.gather(*(post_body(number) for number in range(40)))

    middleware = BodyLimitMiddleware(app, "/", 1000, Admission(10), refuse)
    asyncio.run(post_all())
    assert sorted(finished) == list(range(40))
    assert max(held) <= 5 * 1000
    assert middleware._budget.held_bytes == 0


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"], ids=["plain", "Expect: 100-continue"])
def test_an_announced_size_is_refused_unread(url: str, expect: bytes) -> None:
    with connect(url) as connection:
        connection.sendall(HEAD % (MAX_BYTES + 1) + expect + b"\r\n")
        assert read_response(connection).status == 413


def test_an_early_refusal_is_counted_by_route(start_frontend: StartFrontend) -> None:
    client = start_frontend(max_request_bytes=MAX_BYTES)
    assert client.post("/", content=b" " * (MAX_BYTES + 1), headers=JSON).status_code == 413
    counted = 'birds_http_requests_total{method="POST",route="/",status="413"} 1.0'
    assert counted in client.get("/metrics").text


def test_a_full_backlog_refuses_before_the_body(start_frontend: StartFrontend, monkeypatch: pytest.MonkeyPatch) -> None:
    client = start_frontend()
    monkeypatch.setattr(Admission, "would_refuse", lambda *_: ServiceOverloaded(seconds=3))
    with connect(str(client.base_url)) as connection:
        connection.sendall(HEAD % 1000 + b"\r\n")
        response = read_response(connection)
    assert (response.status, response.headers[b"retry-after"]) == (503, b"3")


def test_an_unannounced_size_is_refused(url: str) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * (MAX_BYTES // 10)

    assert httpx.post(url, content=chunks(), headers=JSON, timeout=30).status_code == 413


def test_a_late_body_is_refused(start_frontend: StartFrontend) -> None:
    with connect(str(start_frontend(request_timeout=0.3).base_url)) as connection:
        connection.sendall(HEAD % 10 + b"\r\n[")
        assert read_response(connection).status == 408
