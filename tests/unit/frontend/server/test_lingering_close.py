"""A client that is still sending its body can read the response, even if the server refuses the body."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from unittest.mock import Mock

import pytest
from pydantic import SecretStr

from frontend.server import lingering_close
from frontend.server.lingering_close import LingeringTransport
from frontend.settings import Settings
from tests.support.frontend_server import running_frontend
from tests.support.processes import eventually
from tests.support.raw_http import connect, is_closed, read_response, read_responses
from tools.serve.ports import free_port

BODY = b"x" * 20_000_000
KEY = b"Authorization: Bearer key\r\n"
JSON = b"Content-Type: application/json\r\n"
REFUSED = {
    "401": (401, b"POST /files HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n"),
    "401 to HTTP/1.0": (401, b"POST / HTTP/1.0\r\nContent-Length: %d\r\n"),
    "413": (413, b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n" + KEY + JSON),
    "413 to HTTP/1.0": (413, b"POST / HTTP/1.0\r\nContent-Length: %d\r\n" + KEY + JSON),
    "503": (503, b"POST /files HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n" + KEY),
    "404": (404, b"POST /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n" + KEY),
    "405": (405, b"PUT /files HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n" + KEY),
    "400": (400, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: %d\r\n"),
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    settings = Settings(triton_url=f"127.0.0.1:{free_port()}", api_keys=(SecretStr("key"),))
    with running_frontend(settings) as url:
        yield url


@pytest.mark.parametrize("case", REFUSED)
def test_the_answer_survives_a_refused_body(url: str, case: str) -> None:
    """Each client sends its whole body before it reads, as many do."""
    status, head = REFUSED[case]
    with connect(url) as connection:
        connection.sendall(head % len(BODY) + b"\r\n" + BODY)
        assert [response.status for response in read_responses(connection)] == [status]


def test_discarded_bytes_are_limited(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering_close, "MAX_DISCARDED_BYTES", 1_000_000)
    _, head = REFUSED["401"]
    with connect(url) as connection:
        connection.sendall(head % (10 * len(BODY)) + b"\r\n")
        with pytest.raises(ConnectionError):
            connection.sendall(10 * BODY)


def test_a_kept_connection_has_the_same_limit(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering_close, "MAX_DISCARDED_BYTES", 1_000_000)
    with connect(url) as connection:
        connection.sendall(b"POST /files HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (10 * len(BODY)))
        with pytest.raises(ConnectionError):
            connection.sendall(10 * BODY)


def test_each_request_has_its_own_limit(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy sends the refused bodies of many clients over one connection."""
    monkeypatch.setattr(lingering_close, "MAX_DISCARDED_BYTES", 1_000_000)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 600000\r\n\r\n"
    with connect(url) as connection:
        for _ in range(4):
            connection.sendall(head + b"x" * 600_000)
            assert read_response(connection).status == 401


def test_lingering_ends_in_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering_close, "LINGER_SECONDS", 0.2)
    _, head = REFUSED["401"]
    with connect(url) as connection:
        connection.sendall(head % len(BODY) + b"\r\n")
        assert read_response(connection).status == 401
        assert connection.recv(1) == b""  # the server has ended its sending side at once

        def is_reset() -> bool:
            try:
                connection.sendall(b"x")
            except ConnectionError:
                return True
            return False

        assert eventually(is_reset)


def test_a_reader_that_stops_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last kilobytes of a response, which the protocol's send timer does not cover."""
    monkeypatch.setattr(lingering_close, "LINGER_SECONDS", 0.001)
    transport = Mock(spec=asyncio.Transport)
    transport.is_closing.return_value = False
    transport.get_write_buffer_size.return_value = 10_000

    async def close() -> None:
        aborted = asyncio.Event()
        transport.abort.side_effect = aborted.set
        LingeringTransport(transport, asyncio.get_running_loop(), is_idle=lambda: True).close()
        await asyncio.wait_for(aborted.wait(), 60)

    asyncio.run(close())
    transport.close.assert_not_called()


def test_idle_connections_do_not_delay_the_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering_close, "LINGER_SECONDS", 60.0)
    with running_frontend(Settings(triton_url=f"127.0.0.1:{free_port()}")) as url:
        connections = [connect(url) for _ in range(3)]
        connections[0].sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_response(connections[0]).status == 200
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 10
    for connection in connections:
        assert isinstance(connection, socket.socket)
        assert is_closed(connection)
        connection.close()
