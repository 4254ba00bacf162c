"""A server that floods its clients, with a thread for each connection."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


@contextmanager
def hostile_server(flood: Callable[[], Iterable[bytes]], host: str = "127.0.0.1") -> Iterator[str]:
    """Answer every request with `flood()` until the client closes the connection. Yields the server's base URL."""
    listener = socket.create_server((host, 0), backlog=1024)
    connections: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                if connection.recv(65536):
                    for block in flood():
                        connection.sendall(block)
            except OSError:
                pass  # the client has closed the connection, or the test is over

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed already


def endless(start: bytes, block: bytes) -> Callable[[], Iterable[bytes]]:
    """A flood that begins with `start` and repeats `block`, in pieces of about a megabyte."""
    piece = block * max(1_000_000 // len(block), 1)
    return lambda: itertools.chain([start], itertools.repeat(piece))


def silence() -> Iterator[bytes]:
    """Keep a connection open and send nothing."""
    while True:
        time.sleep(0.5)
        yield b""
