"""A TCP server that sends what HTTP libraries refuse to send."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


@asynccontextmanager
async def raw_server(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    address: str = "127.0.0.1",
    tls_context: ssl.SSLContext | None = None,
) -> AsyncIterator[tuple[str, list[None]]]:
    """Serve with `handle`. Yields the URL and a list with one entry for each connection."""
    connections: list[None] = []
    open_ones: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the downloader has closed the connection, or the test is over
        finally:
            writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(None)
        open_ones.add(asyncio.create_task(converse(reader, writer)))

    server = await asyncio.start_server(connected, address, 0, ssl=tls_context)
    try:
        port = server.sockets[0].getsockname()[1]
        yield f"http{'s' if tls_context else ''}://{address}:{port}/bird.jpg", connections
    finally:
        server.close()
        for task in open_ones:
            task.cancel()
        await asyncio.gather(*open_ones)
        await server.wait_closed()


def replying(*parts: bytes, pause_seconds: float = 0) -> Callable[..., Awaitable[None]]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_seconds)

    return handle


async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A handler that hangs up at the first byte."""
    await reader.read(1)
