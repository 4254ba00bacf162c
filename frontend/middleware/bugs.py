"""ASGI middleware that answers a request that fails because of a bug."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BugMiddleware:
    """Turns an exception that nothing else handles into the response that `respond` gives.

    Starlette itself would answer outside all middleware: without the CORS headers that let a browser read the answer,
    and unseen by the access log. If the response has begun, the exception is raised, and the server cuts the response
    off.
    """

    def __init__(self, app: ASGIApp, respond: Callable[[Request, Exception], Awaitable[Response]]) -> None:
        self._app = app
        self._respond = respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception as error:
            if has_begun:
                raise
            response = await self._respond(Request(scope), error)
            await response(scope, receive, send)
