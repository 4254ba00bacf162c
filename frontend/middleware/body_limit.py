"""ASGI middleware that bounds the bodies of requests, in bytes and in time, before anything parses them."""

from __future__ import annotations

from anyio import current_time, fail_after
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from frontend.errors import RequestTimeout, RequestTooLarge, ServiceOverloaded
from frontend.middleware.request_context import request_context_of

# So many bodies of the largest size are held in memory at once, or many more small ones.
_LARGEST_BODIES = 4


class BodyLimit:
    """Raises into the application, when it reads, what is wrong with the body as soon as it is known.

    RequestTooLarge: more than `max_bytes`, announced or not. RequestTimeout: not whole by the request's deadline.
    ServiceOverloaded: with it, the bodies of all requests under way would be more than is held in memory.
    `except_path` names the one path whose body is never held whole, and is bounded where it is read.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, except_path: str) -> None:
        self._app = app
        self._except_path = except_path
        self._max_bytes = max_bytes
        self._held_bytes = 0  # by all requests under way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == self._except_path:
            await self._app(scope, receive, send)
            return
        deadline = request_context_of(scope).deadline
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        received, is_whole = 0, False

        async def limited_receive() -> Message:
            nonlocal received, is_whole
            if is_whole:
                return await receive()
            try:
                with fail_after(max(deadline - current_time(), 0)):
                    message = await receive()
            except TimeoutError as error:
                raise RequestTimeout() from error
            size = len(message.get("body", b""))
            received += size
            self._held_bytes += size
            is_whole = not message.get("more_body", False)
            if received > self._max_bytes or int(announced) > self._max_bytes:
                raise RequestTooLarge(max=self._max_bytes)
            if self._held_bytes > _LARGEST_BODIES * self._max_bytes:
                raise ServiceOverloaded(seconds=1)
            return message

        try:
            await self._app(scope, limited_receive, send)
        finally:
            self._held_bytes -= received
