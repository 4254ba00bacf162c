"""Whoever sends headers without end is answered before they fill the memory; large bodies are nobody's headers."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from frontend.server.header_limit import MAX_HEADER_BYTES
from frontend.settings import Settings
from tests.support.frontend_server import running_frontend
from tools.serve.ports import free_port

FAR_TOO_MUCH = 20_000_000
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "a header": (b"GET / HTTP/1.1\r\nX-Long: ", b"a"),
    "a name": (b"GET / HTTP/1.1\r\n", b"a"),
    "headers": (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
    "a target": (b"GET /", b"a"),
    "trailers": (CHUNKED + b"2\r\n[]\r\n0\r\n", b"X: y\r\n"),
    "a trailer": (CHUNKED + b"2\r\n[]\r\n0\r\nX-Long: ", b"a"),
    "headers of a later request": (b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n", b"X: y\r\n"),
}


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with running_frontend(Settings(triton_url=f"127.0.0.1:{free_port()}")) as url:
        parts = httpx.URL(url)
        yield parts.host, parts.port or 0


def taken(address: tuple[str, int], start: bytes, more: bytes) -> tuple[int, bytes]:
    """How many bytes of `start` and then `more` again and again the frontend takes, and its last answer."""
    piece = more * (10_000 // len(more))
    with socket.create_connection(address, timeout=10) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        sent = 0
        try:
            connection.sendall(start)
            while sent < FAR_TOO_MUCH:
                connection.sendall(piece)
                sent += len(piece)
        except ConnectionError:
            pass
        answers = b""
        try:
            while received := connection.recv(65536):
                answers += received
        except ConnectionError:  # what was sent and not read resets the connection, at times before its answer is read
            pass
        return sent, answers


@pytest.mark.parametrize("what", ENDLESS)
def test_headers_without_end_are_cut_off(address: tuple[str, int], what: str) -> None:
    sent, _ = taken(address, *ENDLESS[what])
    # What the kernel's buffers hold on both sides comes on top.
    assert sent < FAR_TOO_MUCH


def test_the_answer_is_400(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX-Long: ")
        answer = b""
        while not answer:
            connection.sendall(b"a" * 1000)
            connection.settimeout(0.01)
            try:
                answer = connection.recv(65536)
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"header" in answer


def test_long_headers_are_fine(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=10) as connection:
        head = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * (MAX_HEADER_BYTES - 1000)
        for part in (head, b"\r\nConnection: close\r\n\r\n"):
            connection.sendall(part)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_body_is_no_header_however_it_comes(address: tuple[str, int]) -> None:
    """A million bytes in tiny chunks, each with a header of its own, in two requests over one connection."""
    chunks = b"1\r\n \r\n" * 50_000 + b"2\r\n[]\r\n0\r\n\r\n"
    with socket.create_connection(address, timeout=20) as connection:
        for _ in range(2):
            connection.sendall(CHUNKED + chunks)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 422 ")
            length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            while len(answer.split(b"\r\n\r\n", 1)[1]) < length:
                answer += connection.recv(65536)
