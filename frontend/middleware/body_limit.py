"""ASGI middleware that limits request bodies in bytes, time and memory, before anything parses them."""

from __future__ import annotations

from anyio import CancelScope, fail_after
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from frontend.errors import Overloaded, RequestTimeout, RequestTooLarge, ServiceOverloaded
from frontend.limits.admission import Admission
from frontend.limits.memory_budget import MemoryBudget, Reservation
from frontend.middleware.request_context import RequestContext, request_context_of

# Memory for bodies, in bodies of the largest size: this many large ones at once, or many more small ones.
_LARGEST_BODIES = 4
_MEMORY_WAIT_SECONDS = 5.0


class BodyLimitMiddleware:
    """Raises an error into the application while it reads a body, as soon as the fault is known.

    RequestTooLarge: the body has more than `max_bytes`, or announces more. RequestTimeout: it is incomplete at the
    request's deadline. ServiceOverloaded: `admission` would refuse the request anyway, or there is no memory for its
    body: callers share the memory, and a body without new bytes gives way to others (MemoryBudget).

    Only routes that read a body as a whole are concerned. The body of `streamed_path` is left to its route.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, admission: Admission, streamed_path: str) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._admission = admission
        self._streamed_path = streamed_path
        self._budget = MemoryBudget(_LARGEST_BODIES * max_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == self._streamed_path:
            await self._app(scope, receive, send)
            return
        body = _LimitedBody(scope, receive, self._max_bytes, self._budget, self._admission)
        try:
            await self._app(scope, body.receive, send)
        finally:
            body.release()


class _LimitedBody:
    """The body of one request."""

    def __init__(
        self, scope: Scope, receive: Receive, max_bytes: int, budget: MemoryBudget, admission: Admission
    ) -> None:
        self._context: RequestContext = request_context_of(scope)
        self._receive = receive
        self._max_bytes = max_bytes
        self._admission = admission
        self._reservation = Reservation(budget, self._context.caller, self._cancel)
        self._cancel_scope: CancelScope | None = None
        self._known_bytes = int(Headers(scope=scope).get("content-length", 0))
        self._received_bytes = 0
        self._is_begun = self._is_complete = False

    async def receive(self) -> Message:
        if self._is_complete:
            return await self._receive()
        if not self._is_begun:
            self._check_before_reading()
        with CancelScope(deadline=self._context.deadline) as self._cancel_scope:
            return await self._receive_within_limits()
        raise ServiceOverloaded(seconds=1) if self._reservation.is_evicted else RequestTimeout()

    def release(self) -> None:
        """Give back the memory of the body."""
        self._reservation.release()

    def _check_before_reading(self) -> None:
        self._is_begun = True
        if self._known_bytes > self._max_bytes:
            raise RequestTooLarge(max=self._max_bytes)
        if refusal := self._admission.would_refuse(self._context.caller):
            raise refusal

    async def _receive_within_limits(self) -> Message:
        message = await self._receive()
        size_bytes = len(message.get("body", b""))
        self._received_bytes += size_bytes
        if self._received_bytes > self._max_bytes:
            raise RequestTooLarge(max=self._max_bytes)
        if size_bytes:
            try:
                with fail_after(_MEMORY_WAIT_SECONDS):
                    await self._reservation.acquire(size_bytes)
            except (TimeoutError, Overloaded) as error:
                raise ServiceOverloaded(seconds=1) from error
        if not message.get("more_body", False):
            self._is_complete = True
            self._reservation.complete()
        return message

    def _cancel(self) -> None:
        if self._cancel_scope is not None:
            self._cancel_scope.cancel()
