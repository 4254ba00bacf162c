"""What belongs to one request from its first byte to its end: a deadline, and what is to be given back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from anyio import current_time
from starlette.types import ASGIApp, Receive, Scope, Send

_KEY = "visit"


@dataclass
class RequestContext:
    """`deadline` is on the event loop's clock. `ending` is closed when the request has ended, in whatever way.
    `spend` counts images that are asked for; it raises RateLimited when they are too many."""

    deadline: float
    ending: ExitStack = field(default_factory=ExitStack)
    spend: Callable[[int], None] = lambda images: None


class RequestContexts:
    """ASGI middleware that gives every request its RequestContext."""

    def __init__(self, app: ASGIApp, timeout_seconds: float) -> None:
        self._app = app
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = RequestContext(current_time() + self._timeout_seconds)
        scope.setdefault("state", {})[_KEY] = visit
        with visit.ending:
            await self._app(scope, receive, send)


def request_context_of(scope: Scope) -> RequestContext:
    """The RequestContext that the middleware made for the request of this scope."""
    visit: RequestContext = scope["state"][_KEY]
    return visit
