"""ASGI middleware that refuses uploads before anything parses them, if the backlog is full."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from frontend.errors import ServiceError
from frontend.limits.admission import Admission
from frontend.middleware.request_context import request_context_of

_TYPICAL_PHOTO_BYTES = 200_000


class UploadRefusalMiddleware:
    """Refuses the requests by POST to `path` that `admission` would refuse anyway.

    `refuse` turns the error into the response. A refusal costs neither routing nor parsing: half of the CPU time.
    """

    def __init__(
        self,
        app: ASGIApp,
        path: str,
        max_images: int,
        admission: Admission,
        refuse: Callable[[Request, ServiceError], Awaitable[Response]],
    ) -> None:
        self._app = app
        self._path = path
        self._max_images = max_images
        self._admission = admission
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and scope["path"] == self._path and scope["method"] == "POST":
            request, caller = Request(scope), request_context_of(scope).caller
            if refusal := self._admission.would_refuse(caller, expected_files(request, self._max_images)):
                app = await self._refuse(request, refusal)
        await app(scope, receive, send)


def expected_files(request: Request, max_files: int) -> int:
    """Estimate from its Content-Length how many photos the body holds, because the request does not say."""
    announced_bytes = int(request.headers.get("content-length", 0))
    return max(1, min(announced_bytes // _TYPICAL_PHOTO_BYTES, max_files))
