"""A response whose body counts against a memory budget until the client has read it."""

from __future__ import annotations

import asyncio
import logging

from anyio import fail_after
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from frontend.api.streaming import unless_disconnected
from frontend.errors import Overloaded, ServiceOverloaded
from frontend.limits.memory_budget import MemoryBudget, Reservation

log = logging.getLogger(__name__)

# Memory for unread answers of one process. An answer is at most about 20 MB: 1000 URLs of 8,192 characters, twice.
MAX_UNREAD_BYTES = 64_000_000
# The body is sent in slices of this size, as large as the write buffer of a connection. Smaller bodies do not count.
_SLICE_BYTES = 65_536
# Answers that nobody reads give way after a second. If there is still no room, too many clients are reading.
_MAX_WAIT_SECONDS = 5.0


class BudgetedResponse(Response):
    """Sends its body in slices, each once the connection has room for it.

    Without this, the server would buffer the whole body of every client that reads slowly or not at all. If others
    need the memory, the budget evicts the response that has waited longest for its reader: its connection is closed.
    Raises ServiceOverloaded, before anything is sent, if there is no memory in the budget.
    """

    def __init__(
        self, body: bytes, media_type: str, headers: dict[str, str], budget: MemoryBudget, caller: str
    ) -> None:
        super().__init__(body, media_type=media_type, headers=headers)
        self._budget = budget
        self._caller = caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if len(self.body) <= _SLICE_BYTES:
            await super().__call__(scope, receive, send)
            return
        evicted = asyncio.Event()
        reservation = Reservation(self._budget, self._caller, on_evicted=evicted.set)
        try:
            await self._reserve(reservation)
            await unless_disconnected(self._send_slices(send, reservation), _wait(evicted))
        except ClientDisconnect:
            log.warning("dropped an answer of %d bytes because its client did not read it", len(self.body))
        finally:
            reservation.release()

    async def _reserve(self, reservation: Reservation) -> None:
        try:
            with fail_after(_MAX_WAIT_SECONDS):
                await reservation.acquire(len(self.body))
        except (TimeoutError, Overloaded) as error:
            raise ServiceOverloaded(seconds=1) from error

    async def _send_slices(self, send: Send, reservation: Reservation) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for start in range(0, len(self.body), _SLICE_BYTES):
            body = self.body[start : start + _SLICE_BYTES]
            await send({"type": "http.response.body", "body": body, "more_body": True})
            reservation.note_progress()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
