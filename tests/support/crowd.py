"""Many connections at once, from any addresses of the loopback network, to one service."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.support.processes import eventually


@contextmanager
def connections(url: str, addresses: list[str], start: bytes) -> Iterator[list[socket.socket]]:
    """Open one connection from each address, and send `start` on it as far as the service reads it."""
    host, _, port = url.removeprefix("http://").partition(":")
    with ExitStack() as stack:
        opened = []
        for address in addresses:
            connection = socket.create_connection((host, int(port)), source_address=(address, 0))
            opened.append(stack.enter_context(connection))
        unsent = dict.fromkeys(opened, memoryview(start))
        for connection in opened:
            connection.setblocking(False)

        def everything_is_sent() -> bool:
            for connection in opened:
                try:
                    while unsent[connection]:
                        unsent[connection] = unsent[connection][connection.send(unsent[connection][:65536]) :]
                except (BlockingIOError, ConnectionError):
                    pass
            return not any(unsent.values())

        eventually(everything_is_sent, 5)  # the service may have stopped reading
        yield opened


def post_of(images: list[str]) -> bytes:
    body = b'{"images":["%s"]}' % b'","'.join(image.encode() for image in images)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body
