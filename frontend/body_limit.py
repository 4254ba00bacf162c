"""ASGI middleware that refuses request bodies over a limit, announced or not, before anything parses them."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from frontend.errors import RequestTooLarge


class BodyLimit:
    """Raises RequestTooLarge into the application as soon as more than `max_bytes` would be read.

    `except_path` names the one path whose body is never held whole, and is bounded where it is read.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, except_path: str) -> None:
        self._app = app
        self._except_path = except_path
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == self._except_path:
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        received = 0

        async def limited_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes or int(announced) > self._max_bytes:
                raise RequestTooLarge(max=self._max_bytes)
            return message

        await self._app(scope, limited_receive, send)
