"""ASGI middleware that limits request bodies, in bytes and in time, before anything parses them."""

from __future__ import annotations

from anyio import current_time, fail_after
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from frontend.errors import RequestTimeout, RequestTooLarge, ServiceOverloaded
from frontend.middleware.request_context import request_context_of

# Memory for bodies, in bodies of the largest size: this many large ones at once, or many more small ones.
_LARGEST_BODIES = 4


class BodyLimitMiddleware:
    """Raises an error into the application while it reads a body, as soon as the fault is known.

    RequestTooLarge: the body has more than `max_bytes`, or announces more. RequestTimeout: it is incomplete at the
    request's deadline. ServiceOverloaded: the bodies of all requests would exceed the memory for bodies.
    The body of `streamed_path` is never held as a whole, so this middleware leaves it to the route.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, streamed_path: str) -> None:
        self._app = app
        self._streamed_path = streamed_path
        self._max_bytes = max_bytes
        self._held_bytes = 0  # by all current requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == self._streamed_path:
            await self._app(scope, receive, send)
            return
        deadline = request_context_of(scope).deadline
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        received, is_complete = 0, False

        async def limited_receive() -> Message:
            nonlocal received, is_complete
            if is_complete:
                return await receive()
            try:
                with fail_after(max(deadline - current_time(), 0)):
                    message = await receive()
            except TimeoutError as error:
                raise RequestTimeout() from error
            size = len(message.get("body", b""))
            received += size
            self._held_bytes += size
            is_complete = not message.get("more_body", False)
            if received > self._max_bytes or int(announced) > self._max_bytes:
                raise RequestTooLarge(max=self._max_bytes)
            if self._held_bytes > _LARGEST_BODIES * self._max_bytes:
                raise ServiceOverloaded(seconds=1)
            return message

        try:
            await self._app(scope, limited_receive, send)
        finally:
            self._held_bytes -= received
