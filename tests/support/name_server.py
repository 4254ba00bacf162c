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
_TRUNCATED = 0x0200
_MAX_UDP_BYTES = 512


class NameServer:
    """Answers A queries for NAME over UDP and TCP, on its own threads. Over UDP it cuts answers to 512 bytes.

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
                sock.sendto(_cut(answer(query)), self.client_address)

        class TcpHandler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                query = self.rfile.read(int.from_bytes(self.rfile.read(2), "big"))
                message = answer(query)
                self.wfile.write(struct.pack("!H", len(message)) + message)

        port, self._servers = _on_one_port(Handler, TcpHandler)
        self.address = f"127.0.0.1:{port}"
        self._threads = [threading.Thread(target=server.serve_forever, args=(0.1,)) for server in self._servers]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


def _on_one_port(
    udp_handler: type[socketserver.BaseRequestHandler], tcp_handler: type[socketserver.BaseRequestHandler]
) -> tuple[int, list[socketserver.BaseServer]]:
    """A UDP and a TCP server on one port. The system chooses a port that is free for one of the protocols."""
    for _ in range(100):
        tcp = socketserver.TCPServer(("127.0.0.1", 0), tcp_handler)
        port = int(tcp.socket.getsockname()[1])
        try:
            return port, [socketserver.UDPServer(("127.0.0.1", port), udp_handler), tcp]
        except OSError:
            tcp.server_close()
    raise OSError("no port is free for both UDP and TCP")


def _cut(message: bytes) -> bytes:
    """Return the message as it is sent over UDP: if it is too long, without its answers, and marked as truncated."""
    if len(message) <= _MAX_UDP_BYTES:
        return message
    flags, questions = struct.unpack_from("!HH", message, 2)
    end = message.index(b"\0", 12) + 5
    return message[:2] + struct.pack("!HHHHH", flags | _TRUNCATED, questions, 0, 0, 0) + message[12:end]
