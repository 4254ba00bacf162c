"""Answers that are streamed as lines, and requests whose client may disconnect before the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

T = TypeVar("T")
# A coroutine function that returns when the client has disconnected.
DisconnectWatch = Callable[[], Coroutine[Any, Any, None]]


async def client_disconnected(request: Request) -> None:
    """Return when the client closes the connection. Call it only after the body was read: it discards body data."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def unless_disconnected(work: Coroutine[Any, Any, T], disconnected: Coroutine[Any, Any, None]) -> T:
    """Return the result of `work`. If `disconnected` returns first, cancel `work` and raise ClientDisconnect."""
    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(disconnected)
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect()
        return working.result()
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)
        del working, watching  # their errors refer to this frame: without the cycle, what they hold is freed at once


class NdjsonResponse(Response):
    """Sends each line as soon as it is produced, and asks for the next line once the connection has room for it.

    An exception before the first line goes to the application, which can still answer with an error status. If the
    client disconnects, `lines` is closed. A client that stops reading needs no time limit here: the HTTP protocol
    class (frontend/server) closes its connection, which counts as a disconnect.
    """

    def __init__(
        self,
        lines: AsyncGenerator[bytes, None],
        disconnected: DisconnectWatch,
        headers: dict[str, str],
        media_type: str,
    ) -> None:
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self.init_headers(headers)
        self._lines = lines
        self._disconnected = disconnected

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_disconnected(self._stream(send), self._disconnected())
        except ClientDisconnect:
            pass  # nobody is left to answer

    async def _stream(self, send: Send) -> None:
        async with aclosing(self._lines) as lines:
            first = await anext(lines)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": first, "more_body": True})
            async for line in lines:
                await send({"type": "http.response.body", "body": line, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
