"""A name server for one name, whose addresses may change while others ask."""

from __future__ import annotations

import socketserver
import struct
import threading
from ipaddress import IPv4Address

NAME = "frontend"
_A, _IN = 1, 1
_ANSWER, _NO_SUCH_NAME = 0x8580, 0x8583


class NameServer:
    """Answers A queries for NAME over UDP, on a thread of its own."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)

    def _answer(self, query: bytes) -> bytes:
        labels, end = [], 12
        while length := query[end]:
            labels.append(query[end + 1 : end + 1 + length].decode().lower())
            end += 1 + length
        kind = struct.unpack("!H", query[end + 1 : end + 3])[0]
        known = labels[0] == NAME
        addresses = self.addresses if known and kind == _A else []
        flags = _ANSWER if known else _NO_SUCH_NAME
        header = query[:2] + struct.pack("!HHHHH", flags, 1, len(addresses), 0, 0)
        # Each record names the question by its place in the message, and may be kept for no time at all.
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
