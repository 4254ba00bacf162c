"""A name server for one name. Its addresses can change while it runs, and it can answer like a cache."""

from __future__ import annotations

import socketserver
import struct
import threading
import time
from ipaddress import IPv4Address

NAME = "frontend"
_A, _IN = 1, 1
_ANSWER, _NO_SUCH_NAME = 0x8580, 0x8583


class NameServer:
    """Answers A queries for NAME over UDP, on its own thread.

    With `cached_seconds` it behaves like a cache in front of the real name server: each answer is up to that old.
    `asked_at` has the time.monotonic() of each A query.
    """

    def __init__(self, *addresses: str, cached_seconds: float = 0) -> None:
        self.addresses = list(addresses)
        self.asked_at: list[float] = []
        self._cached_seconds = cached_seconds
        self._cached: list[str] = []
        self._cached_until = 0.0

    def _known_addresses(self) -> list[str]:
        now = time.monotonic()
        self.asked_at.append(now)
        if now >= self._cached_until:
            self._cached, self._cached_until = list(self.addresses), now + self._cached_seconds
        return self._cached

    def _answer(self, query: bytes) -> bytes:
        labels, end = [], 12
        while length := query[end]:
            labels.append(query[end + 1 : end + 1 + length].decode().lower())
            end += 1 + length
        kind = struct.unpack("!H", query[end + 1 : end + 3])[0]
        known = labels[0] == NAME
        addresses = self._known_addresses() if known and kind == _A else []
        flags = _ANSWER if known else _NO_SUCH_NAME
        header = query[:2] + struct.pack("!HHHHH", flags, 1, len(addresses), 0, 0)
        # Each record refers to the name in the question by its position, and has a time to live of 0.
        records = (struct.pack("!HHHIH", 0xC00C, _A, _IN, 0, 4) + IPv4Address(text).packed for text in addresses)
        return header + query[12 : end + 5] + b"".join(records)

    def __enter__(self) -> NameServer:
        answer = self._answer

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                query, sock = self.request
                sock.sendto(answer(query), self.client_address)

        self._server = socketserver.UDPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
