"""Connections whose client owes bytes are closed, and all others are left alone."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from fastapi import FastAPI, Response
from pydantic import SecretStr

from frontend.server.slow_clients import SlowClientProtocol
from frontend.settings import Settings
from tests.support.frontend_server import running_app, running_frontend
from tools.serve.ports import free_port

LARGE = 20_000_000
LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A connection to a frontend with little patience, a key, and no Triton."""
    monkeypatch.setattr(SlowClientProtocol, "patience_seconds", 0.5)
    settings = Settings(triton_url=f"127.0.0.1:{free_port()}", api_keys=(SecretStr("key"),))
    with running_frontend(settings) as url:
        parts = httpx.URL(url)
        with socket.create_connection((parts.host, parts.port), timeout=10) as connection:
            yield connection


def closed_within(connection: socket.socket, seconds: float, trickle: bytes = b"") -> bool:
    """Whether the other side ends the connection, while a byte of `trickle` is sent now and then."""
    connection.settimeout(0.1)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            connection.sendall(trickle[:1])
            if not connection.recv(65536):
                return True
        except TimeoutError:
            continue
        except ConnectionError:
            return True
    return False


def test_a_connection_that_sends_nothing_is_closed(connection: socket.socket) -> None:
    assert closed_within(connection, 5)


def test_headers_that_trickle_in_are_given_up(connection: socket.socket) -> None:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    assert closed_within(connection, 5, b"a")


def test_so_are_those_of_a_later_request(connection: socket.socket) -> None:
    connection.sendall(LIVE)
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    connection.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
    assert closed_within(connection, 5, b"a")


def test_the_rest_of_a_refused_body_is_not_waited_for_long(connection: socket.socket) -> None:
    connection.sendall(b"POST /files HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 401")
    assert closed_within(connection, 5, b"a")


def test_a_refused_body_that_arrives_leaves_the_connection_to_the_next_request(connection: socket.socket) -> None:
    connection.sendall(b"POST /files HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 401")
    connection.sendall(b"x" * 300_000 + LIVE)
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert not closed_within(connection, 1)  # only uvicorn's limit for idle connections is left


def test_a_body_that_the_application_waits_for_is_left_to_its_own_deadline(connection: socket.socket) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer key\r\nContent-Type: application/json\r\n"
    connection.sendall(head + b"Content-Length: 20\r\n\r\n")
    assert not closed_within(connection, 1.5)
    connection.sendall(b" " * 20)
    connection.settimeout(10)
    assert connection.recv(65536).startswith(b"HTTP/1.1 422")


def test_a_client_that_does_not_read_its_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SlowClientProtocol, "reader_patience_seconds", 0.5)
    with large_answer() as connection:
        time.sleep(2)  # nothing is read meanwhile, nor is the kernel's room enough for it all
        assert received(connection) < LARGE


def test_one_that_takes_its_time_gets_it_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SlowClientProtocol, "reader_patience_seconds", 1)
    with large_answer() as connection:
        before = received(connection, at_most=3 * LARGE // 4)
        time.sleep(1.5)
        assert before + received(connection) > LARGE


@contextmanager
def large_answer() -> Iterator[socket.socket]:
    """A connection on which an answer of LARGE bytes has been asked for, with little room to receive it."""
    app = FastAPI()
    app.add_api_route("/large", lambda: Response(bytes(LARGE)))
    with running_app(app) as url, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.settimeout(10)
        connection.connect((httpx.URL(url).host, httpx.URL(url).port))
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        yield connection


def received(connection: socket.socket, at_most: float = math.inf) -> int:
    """How many bytes come until there are `at_most`, or the other side ends the connection."""
    count = 0
    try:
        while count < at_most and (part := connection.recv(65536)):
            count += len(part)
    except ConnectionError:
        pass
    return count
