"""HTTP/1.1 by hand, for requests that no HTTP client would send."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

import httpx

LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass
class RawResponse:
    status: int
    headers: dict[bytes, bytes]
    body: bytes


def address_of(url: str) -> tuple[str, int]:
    parts = httpx.URL(url)
    return parts.host, parts.port or 80


def connect(url: str, timeout_seconds: float = 60) -> socket.socket:
    return socket.create_connection(address_of(url), timeout=timeout_seconds)


def read_responses(connection: socket.socket) -> list[RawResponse]:
    """Every complete response until the server ends the connection."""
    data = read_to_end(connection)
    responses = []
    while data:
        response, data = split_response(data)
        if response.status != 100:
            responses.append(response)
    return responses


def read_to_end(connection: socket.socket) -> bytes:
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


def split_response(data: bytes) -> tuple[RawResponse, bytes]:
    """The first response in `data`, which has a Content-Length or no body, and the bytes after it."""
    head, _, rest = data.partition(b"\r\n\r\n")
    status_line, *lines = head.split(b"\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}
    length = int(headers.get(b"content-length", b"0"))
    return RawResponse(int(status_line.split()[1]), headers, rest[:length]), rest[length:]


def read_response(connection: socket.socket) -> RawResponse:
    """One response with a Content-Length; the connection stays open. Raises EOFError if it ends before."""
    data = b""
    while True:
        _, separator, body = data.partition(b"\r\n\r\n")
        if separator:
            response, _ = split_response(data)
            if len(body) >= int(response.headers.get(b"content-length", b"0")):
                return response
        part = connection.recv(65536)
        if not part:
            raise EOFError(data)
        data += part


def is_closed(connection: socket.socket, trickle: bytes = b"", seconds: float = 60) -> bool:
    """Whether the server ends the connection within this time, while the client sends a byte of `trickle` at times."""
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
