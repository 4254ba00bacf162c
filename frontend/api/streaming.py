"""Answers that arrive line by line, and requests whose sender may go away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from frontend.api.schemas import NDJSON

_READER_PATIENCE_SECONDS = 60  # a reader that takes nothing for so long is given up

T = TypeVar("T")


def is_wanted(request: Request) -> bool:
    """Whether the request's Accept header names newline-delimited JSON."""
    ranges = request.headers.get("accept", "").lower().split(",")
    return any(media_range.partition(";")[0].strip() == NDJSON for media_range in ranges)


async def client_gone(request: Request) -> None:
    """Return when the connection is closed. Only once the whole body has been read: what is left of it is dropped."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def unless_gone(work: Coroutine[Any, Any, T], gone: Coroutine[Any, Any, None]) -> T:
    """The result of `work`. Cancels it and raises ClientDisconnect when `gone` returns first."""
    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(gone)
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect()
        return working.result()
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


class NdjsonResponse(Response):
    """Sends each line when it is made, and asks for the next once the reader has room for it.

    What is raised before the first line is raised to the application, which can still answer with a status. A
    reader that goes away, or stops reading, ends the making of lines.
    """

    media_type = NDJSON

    def __init__(
        self, lines: AsyncGenerator[bytes, None], gone: Callable[[], Coroutine[Any, Any, None]], headers: dict[str, str]
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(headers)
        self._lines = lines
        self._gone = gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_gone(self._stream(send), self._gone())
        except ClientDisconnect:
            pass  # nobody is left to be told

    async def _stream(self, send: Send) -> None:
        async with aclosing(self._lines) as lines:
            first = await anext(lines)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await _within_patience(send({"type": "http.response.body", "body": first, "more_body": True}))
            async for line in lines:
                await _within_patience(send({"type": "http.response.body", "body": line, "more_body": True}))
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _within_patience(sending: Awaitable[None]) -> None:
    try:
        await asyncio.wait_for(sending, _READER_PATIENCE_SECONDS)
    except asyncio.TimeoutError as error:
        raise ClientDisconnect() from error
