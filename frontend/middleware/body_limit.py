"""ASGI middleware that limits request bodies in bytes, time and memory, before anything parses them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from anyio import CancelScope, fail_after
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from frontend.errors import Overloaded, RequestTimeout, RequestTooLarge, ServiceError, ServiceOverloaded
from frontend.limits.admission import Admission
from frontend.limits.memory_budget import MemoryBudget, Reservation
from frontend.middleware.request_context import RequestContext, request_context_of

# The memory for bodies holds this many bodies of the maximum size, or many more smaller ones.
_LARGEST_BODIES = 4
_MEMORY_WAIT_SECONDS = 5.0
# One read of a body (frontend/server/sized_reads.py) is in memory before this middleware sees it, so this much is
# acquired in advance: 3,000 stalled bodies of one caller took 588 MB and delayed other callers by 12 s. A small body
# acquires its memory when it has arrived, and may wait for it.
_READ_AHEAD_BYTES = 262_144
_SMALL_BODY_BYTES = 16_384
_MAX_COUNTED_BYTES = 65_536  # largest body that is parsed only to count its images: 0.3 ms at most


class BodyLimitMiddleware:
    """Limits the bodies that are sent by POST to `path`, the one route that reads a body as a whole.

    Before it reads a body, it refuses requests whose Content-Length exceeds `max_bytes` (RequestTooLarge), requests
    that `admission` would refuse anyway, and bodies for whose beginning there is no memory (ServiceOverloaded).
    `refuse` turns the error into the response, so that a refusal costs neither routing nor parsing. While the backlog
    is full, it also reads small bodies and counts their images: refusing a request for five images then costs 0.4 ms,
    while the route would need 0.9 ms.

    While the application reads the body, it gets RequestTooLarge for more than `max_bytes`, RequestTimeout if the body
    is incomplete at the request's deadline, and ServiceOverloaded if there is no memory for the body: callers share the
    memory, and a body without new bytes gives way to others (MemoryBudget).
    """

    def __init__(
        self,
        app: ASGIApp,
        path: str,
        max_bytes: int,
        admission: Admission,
        refuse: Callable[[Request, ServiceError], Awaitable[Response]],
    ) -> None:
        self._app = app
        self._path = path
        self._max_bytes = max_bytes
        self._admission = admission
        self._refuse = refuse
        self._budget = MemoryBudget(_LARGEST_BODIES * max_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        request, context = Request(scope), request_context_of(scope)
        body = _LimitedBody(receive, context, self._max_bytes, self._budget)
        try:
            if error := self._early_refusal(request, context, body):
                response = await self._refuse(request, error)
                await response(scope, receive, send)
                return
            if self._admission.is_full:
                try:
                    await self._refuse_by_images(body, context.caller)
                except ServiceError as error:
                    response = await self._refuse(request, error)
                    await response(scope, body.receive, send)
                    return
            await self._app(scope, body.receive, send)
        finally:
            body.release()

    async def _refuse_by_images(self, body: _LimitedBody, caller: str) -> None:
        if refusal := self._admission.would_refuse(caller, _count_images(await body.peek())):
            raise refusal

    def _early_refusal(self, request: Request, context: RequestContext, body: _LimitedBody) -> ServiceError | None:
        announced_bytes = int(request.headers.get("content-length", self._max_bytes))
        if announced_bytes > self._max_bytes:
            return RequestTooLarge(max=self._max_bytes)
        if refusal := self._admission.would_refuse(context.caller):
            return refusal
        if announced_bytes > _SMALL_BODY_BYTES and not body.reserve(min(announced_bytes, _READ_AHEAD_BYTES)):
            return ServiceOverloaded(seconds=1)
        return None


def _count_images(message: Message) -> int:
    """Return the number of distinct images in a small, complete body, at least 1. Return 1 for all other bodies."""
    body = message.get("body", b"")
    if message.get("more_body", False) or len(body) > _MAX_COUNTED_BYTES:
        return 1
    try:
        return max(len(set(json.loads(body)["images"])), 1)
    except (ValueError, TypeError, KeyError, RecursionError):
        return 1


class _LimitedBody:
    """The body of one request."""

    def __init__(self, receive: Receive, context: RequestContext, max_bytes: int, budget: MemoryBudget) -> None:
        self._receive = receive
        self._deadline = context.deadline
        self._max_bytes = max_bytes
        self._reservation = Reservation(budget, context.caller, self._cancel)
        self._cancel_scope: CancelScope | None = None
        self._received_bytes = 0
        self._peeked: Message | None = None
        self._is_complete = False

    def reserve(self, size_bytes: int) -> bool:
        """Acquire memory for the first `size_bytes`. Return whether there was enough."""
        return self._reservation.acquire_nowait(size_bytes)

    async def peek(self) -> Message:
        """Return the first message of the body. `receive` will return it again."""
        self._peeked = await self.receive()
        return self._peeked

    async def receive(self) -> Message:
        if self._peeked is not None:
            peeked, self._peeked = self._peeked, None
            return peeked
        if self._is_complete:
            return await self._receive()
        if self._reservation.is_evicted:  # between two messages, when there was nothing to cancel
            raise ServiceOverloaded(seconds=1)
        with CancelScope(deadline=self._deadline) as self._cancel_scope:
            return await self._receive_within_limits()
        raise ServiceOverloaded(seconds=1) if self._reservation.is_evicted else RequestTimeout()

    def release(self) -> None:
        """Give back the memory of the body."""
        self._reservation.release()

    async def _receive_within_limits(self) -> Message:
        message = await self._receive()
        size_bytes = len(message.get("body", b""))
        self._received_bytes += size_bytes
        if self._received_bytes > self._max_bytes:
            raise RequestTooLarge(max=self._max_bytes)
        missing_bytes = max(self._received_bytes - self._reservation.held_bytes, 0)
        self._reservation.note_progress(size_bytes - missing_bytes)
        if missing_bytes:
            try:
                with fail_after(_MEMORY_WAIT_SECONDS):
                    await self._reservation.acquire(missing_bytes)
            except (TimeoutError, Overloaded) as error:
                raise ServiceOverloaded(seconds=1) from error
        if not message.get("more_body", False):
            self._is_complete = True
            self._reservation.complete()
            self._reservation.shrink(self._received_bytes)
        return message

    def _cancel(self) -> None:
        if self._cancel_scope is not None:
            self._cancel_scope.cancel()
