"""Connections whose client is too slow or sends too much are closed. All others are left alone."""

from __future__ import annotations

import asyncio
import math
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from fastapi import FastAPI, Response
from pydantic import SecretStr
from starlette.types import Message, Receive, Scope, Send

from frontend.server import lingering_close
from frontend.server.sized_reads import HEAD_READ_BYTES
from frontend.server.slow_clients import (
    MAX_HEADER_BYTES,
    MAX_HEADER_FIELDS,
    MAX_QUERY_PARAMETERS,
    SlowClientProtocol,
)
from frontend.settings import Settings
from tests.support.frontend_server import running_app, running_frontend
from tests.support.processes import eventually
from tests.support.raw_http import LIVE, address_of, connect, is_closed, read_response
from tools.serve.ports import free_port

LARGE = 20_000_000
RECEIVE_SECONDS = 2  # long enough that a busy machine sends the next bytes before
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "a header": (b"GET / HTTP/1.1\r\nX-Long: ", b"a"),
    "a name": (b"GET / HTTP/1.1\r\n", b"a"),
    "headers": (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
    "a target": (b"GET /", b"a"),
    "trailers": (CHUNKED + b"2\r\n[]\r\n0\r\n", b"X: y\r\n"),
    "a trailer": (CHUNKED + b"2\r\n[]\r\n0\r\nX-Long: ", b"a"),
    "headers of a later request": (b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n", b"X: y\r\n"),
    "headers after an upgrade": (b"GET /health/live HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n", b"X: y\r\n"),
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A frontend without a Triton that requires a key."""
    settings = Settings(triton_url=f"127.0.0.1:{free_port()}", api_keys=(SecretStr("key"),))
    with running_frontend(settings) as url:
        yield url


@pytest.fixture
def connection(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A connection on which the server waits only briefly for the client."""
    monkeypatch.setattr(SlowClientProtocol, "receive_timeout_seconds", RECEIVE_SECONDS)
    with connect(url) as connection:
        yield connection


def test_a_refused_body_is_not_kept(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection stays open for the rest of the body."""
    protocols: list[SlowClientProtocol] = []
    on_response_complete = SlowClientProtocol.on_response_complete

    def note(protocol: SlowClientProtocol) -> None:
        protocols.append(protocol)
        on_response_complete(protocol)

    monkeypatch.setattr(SlowClientProtocol, "on_response_complete", note)
    with connect(url) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + bytes(50_000))
        assert read_response(connection).status == 401
        assert eventually(lambda: [len(protocol.cycle.body) for protocol in protocols] == [0])


def test_little_of_a_body_is_read_before_it_is_asked_for() -> None:
    """One turn of the event loop reads from all connections: 3,000 bodies that arrived together took 370 MB."""
    messages: list[bytes] = []

    async def read_all(scope: Scope, receive: Receive, send: Send) -> None:
        message: Message = {"more_body": scope["type"] == "http"}
        while message.get("more_body"):
            message = await receive()
            messages.append(message.get("body", b""))
        if scope["type"] == "http":
            await Response()(scope, receive, send)

    body = random.Random(1).randbytes(1_000_000)
    with running_app(read_all) as url, connect(url) as connection:
        for _ in range(2):
            messages.clear()
            connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + body)
            assert read_response(connection).status == 200
            assert b"".join(messages) == body
            assert len(messages[0]) <= HEAD_READ_BYTES


def test_a_body_that_ends_in_400_is_still_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that reads its answer only after it has sent everything would otherwise wait."""
    monkeypatch.setattr(lingering_close, "LINGER_SECONDS", 60)
    protocols: list[SlowClientProtocol] = []
    connection_made = SlowClientProtocol.connection_made

    def note(protocol: SlowClientProtocol, transport: asyncio.Transport) -> None:
        protocols.append(protocol)
        connection_made(protocol, transport)

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        while scope["type"] == "http" and (await receive())["type"] != "http.disconnect":
            pass

    monkeypatch.setattr(SlowClientProtocol, "connection_made", note)
    with running_app(wait) as url, connect(url) as connection:
        connection.sendall(CHUNKED + b"5\r\n" + b"wrong length\r\n" * 10)
        assert read_response(connection).status == 400
        assert eventually(lambda: [protocol.transport.is_reading() for protocol in protocols] == [True])


def test_a_silent_connection_is_closed(connection: socket.socket) -> None:
    assert is_closed(connection)


def test_slow_headers_end_the_connection(connection: socket.socket) -> None:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    assert is_closed(connection, b"a")


def test_slow_headers_of_a_later_request_end_it(connection: socket.socket) -> None:
    connection.sendall(LIVE)
    assert read_response(connection).status == 200
    connection.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
    assert is_closed(connection, b"a")


def test_a_slow_rest_of_a_refused_body_ends_it(connection: socket.socket) -> None:
    connection.sendall(b"POST /files HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    assert read_response(connection).status == 401
    assert is_closed(connection, b"a")


def test_a_refused_body_leaves_the_connection_usable(connection: socket.socket) -> None:
    connection.sendall(b"POST /files HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n")
    assert read_response(connection).status == 401
    connection.sendall(b"x" * 300_000 + LIVE)
    assert read_response(connection).status == 200
    # Only uvicorn's limit for idle connections applies now.
    assert not is_closed(connection, seconds=1.5 * RECEIVE_SECONDS)


def test_the_application_decides_about_slow_bodies(connection: socket.socket) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer key\r\nContent-Type: application/json\r\n"
    connection.sendall(head + b"Content-Length: 20\r\n\r\n")
    assert not is_closed(connection, seconds=1.5 * RECEIVE_SECONDS)
    connection.sendall(b" " * 20)
    connection.settimeout(60)
    assert read_response(connection).status == 422


def taken_bytes(url: str, start: bytes, more: bytes) -> int:
    """How many bytes of `start` and then `more`, repeated, the server takes before it ends the connection."""
    piece = more * (10_000 // len(more))
    sent = 0
    with connect(url) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        try:
            connection.sendall(start)
            while sent < 5 * LARGE:
                connection.sendall(piece)
                sent += len(piece)
        except ConnectionError:
            pass
    return sent


@pytest.mark.parametrize("part", ENDLESS)
def test_endless_headers_end_the_connection(url: str, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A lingering close discards some bytes, and the kernel's buffers hold some on both sides.
    monkeypatch.setattr(lingering_close, "MAX_DISCARDED_BYTES", 1_000_000)
    assert taken_bytes(url, *ENDLESS[part]) < 5 * LARGE


def test_too_large_headers_are_answered_with_400(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 4 * MAX_HEADER_BYTES)
        response = read_response(connection)
    assert response.status == 400
    assert b"header" in response.body


def test_long_headers_are_accepted(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * (MAX_HEADER_BYTES - 1000))
        connection.sendall(b"\r\nConnection: close\r\n\r\n")
        assert read_response(connection).status == 200


@pytest.mark.parametrize(
    ("query", "fields", "status"),
    [
        (MAX_QUERY_PARAMETERS, MAX_HEADER_FIELDS, 200),
        (MAX_QUERY_PARAMETERS + 1, 1, 400),
        (1, MAX_HEADER_FIELDS + 1, 400),
    ],
)
def test_parameters_and_header_fields_are_limited(url: str, query: int, fields: int, status: int) -> None:
    """6,000 query parameters occupied the event loop for 77 ms."""
    target = b"/health/live?" + b"&".join([b"a=1"] * query)
    with connect(url) as connection:
        connection.sendall(b"GET %b HTTP/1.1\r\n" % target + b"Host: x\r\n" * fields + b"\r\n")
        response = read_response(connection)
    assert response.status == status
    assert (b"too many" in response.body) == (status == 400)


def test_cookies_do_not_reach_the_application() -> None:
    """FastAPI would parse them for each request: 64 kB of them took 26 ms."""
    names: list[bytes] = []

    async def note_names(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            names.extend(name for name, _ in scope["headers"])
            await Response()(scope, receive, send)

    with running_app(note_names) as url, connect(url) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\nX: y\r\n\r\n")
        assert read_response(connection).status == 200
    assert names == [b"host", b"x"]


def test_tiny_chunks_do_not_count_as_headers(url: str) -> None:
    """A body in tiny chunks, each with its own chunk header, in two requests on one connection."""
    chunks = b"1\r\n \r\n" * 15_000 + b"2\r\n[]\r\n0\r\n\r\n"
    authorized = CHUNKED.replace(b"Host: x\r\n", b"Host: x\r\nAuthorization: Bearer key\r\n")
    with connect(url, 20) as connection:
        for _ in range(2):
            connection.sendall(authorized + chunks)
            assert read_response(connection).status == 422


@pytest.mark.parametrize(("size_bytes", "status"), [(1, 400), (20, 400), (64, 401)])
def test_body_in_tiny_chunks_is_refused(size_bytes: int, status: int) -> None:
    """Four bodies in chunks of one byte delayed the answers to others by seconds."""
    received = bytearray()

    async def read_all(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            message: Message = {"more_body": True}
            while message.get("more_body"):
                message = await receive()
                received.extend(message.get("body", b""))
            await Response(status_code=401)(scope, receive, send)

    chunk = b"%x\r\n%b\r\n" % (size_bytes, b"x" * size_bytes)
    with running_app(read_all) as url, connect(url) as connection:
        with suppress(ConnectionError):  # the server may have closed it already
            connection.sendall(CHUNKED + chunk * 50_000 + b"0\r\n\r\n")
        assert read_response(connection).status == status
    assert status == 400 or len(received) == size_bytes * 50_000


def test_pipelined_requests_are_limited() -> None:
    requests = 0
    release = asyncio.Event()

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal requests
        if scope["type"] == "http":
            requests += 1
            await release.wait()

    with running_app(wait) as url, connect(url) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n" * 14_000)
        assert is_closed(connection)
        release.set()
    assert requests == 1  # the others were not started, and are gone with the connection


def test_a_response_that_is_not_read_is_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SlowClientProtocol, "send_timeout_seconds", 0.5)
    ended = threading.Event()
    connection_lost = SlowClientProtocol.connection_lost

    def note(protocol: SlowClientProtocol, error: Exception | None) -> None:
        connection_lost(protocol, error)
        ended.set()

    monkeypatch.setattr(SlowClientProtocol, "connection_lost", note)
    with large_response() as connection:
        assert ended.wait(60)  # the client reads nothing, and the kernel's buffers can't hold the response
        assert received_bytes(connection) < LARGE


def test_a_response_that_is_read_slowly_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest must be read in the second period of three seconds."""
    monkeypatch.setattr(SlowClientProtocol, "send_timeout_seconds", 3)
    with large_response() as connection:
        before = received_bytes(connection, at_most=3 * LARGE // 4)
        time.sleep(3.5)
        assert before + received_bytes(connection) > LARGE


@contextmanager
def large_response() -> Iterator[socket.socket]:
    """A connection that has requested a response of LARGE bytes and has a small receive buffer."""
    app = FastAPI()
    app.add_api_route("/large", lambda: Response(bytes(LARGE)))
    with running_app(app) as url, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.settimeout(60)
        connection.connect(address_of(url))
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        yield connection


def received_bytes(connection: socket.socket, at_most: float = math.inf) -> int:
    """How many bytes arrive before there are `at_most` or the server ends the connection."""
    count = 0
    try:
        while count < at_most and (part := connection.recv(65536)):
            count += len(part)
    except ConnectionError:
        pass
    return count
