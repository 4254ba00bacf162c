"""Who may ask, and how much: judged before a body is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from frontend.errors import ServiceError
from frontend.middleware.api_keys import ApiKeys
from frontend.middleware.rate_limit import RateLimit
from frontend.middleware.request_context import request_context_of

# Everything else asks for a key, also what does not exist.
_OPEN = {"/docs", "/docs/oauth2-redirect", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/redoc"}
_OPEN_FOLDER = "/static/"


class Gate:
    """ASGI middleware that answers with `refusal` whoever has no key, or has used up what he may ask for.

    The routes count images themselves, once they know how many there are: RequestContext.spend.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: ApiKeys,
        rate_limit: RateLimit | None,
        refusal: Callable[[Request, ServiceError], Awaitable[Response]],
    ) -> None:
        self._app = app
        self._keys = keys
        self._rate_limit = rate_limit
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_open(scope):
            request = Request(scope)
            try:
                self._judge(request)
            except ServiceError as error:
                await (await self._refusal(request, error))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _judge(self, request: Request) -> None:
        caller = self._keys.bearer(request.headers.get("authorization", "")) if self._keys else None
        limit = self._rate_limit
        if limit is not None:
            name = caller or limit.caller_at(request.client.host if request.client else "")
            limit.check(name)
            request_context_of(request.scope).spend = lambda images: limit.spend(name, images)


def _is_open(scope: Scope) -> bool:
    path: str = scope["path"]
    if path == "/":
        return bool(scope["method"] != "POST")
    return path in _OPEN or path.startswith(_OPEN_FOLDER)
