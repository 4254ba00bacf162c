"""Calls that are never cut short, for a Triton that can die of it.

Before 2.57, a gRPC inference that was cancelled, or whose gRPC deadline passed, in the moment in which it was done
could end the whole server with signal 11.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any

from anyio import CancelScope

_FIRST_SOUND = (2, 57)
# Beyond the caller's deadline, at which Triton has dropped what waits in its queues: only a call that hangs gets here.
_HANGING_SECONDS = 60.0
_FINISH_SECONDS = 5.0


def stands_cancellation(version: str) -> bool:
    """Whether a Triton of this version, as its metadata names it, may be cancelled. One in another form may not."""
    match = re.match(r"(\d+)\.(\d+)\.", version)
    return match is not None and (int(match[1]), int(match[2])) >= _FIRST_SOUND


class ShieldedCalls:
    """The calls under way."""

    def __init__(self) -> None:
        self._running: set[asyncio.Future[Any]] = set()

    async def answer(self, call: Callable[..., Awaitable[Any]], timeout_seconds: float | None) -> Any:
        """What `call(client_timeout=…)` returns or raises. Raises TimeoutError after `timeout_seconds`.

        Whoever is cancelled meanwhile keeps what he holds until the call is done, or its time is over: work that
        goes on is not to be forgotten. After that time the call is left to itself.
        """
        client_timeout = None if timeout_seconds is None else timeout_seconds + _HANGING_SECONDS
        running = asyncio.ensure_future(call(client_timeout=client_timeout))
        self._running.add(running)
        running.add_done_callback(self._forget)
        loop = asyncio.get_running_loop()
        end = inf if timeout_seconds is None else loop.time() + timeout_seconds
        cancelled: asyncio.CancelledError | None = None
        with CancelScope(shield=True):
            while not running.done() and (left := end - loop.time()) > 0:
                try:
                    await asyncio.wait({running}, timeout=None if timeout_seconds is None else left)
                except asyncio.CancelledError as error:
                    cancelled = error
        if cancelled is not None:
            raise cancelled
        if not running.done():
            raise TimeoutError
        return running.result()

    async def finish(self) -> None:
        """Wait for what is under way, a few seconds at most."""
        if self._running:
            await asyncio.wait(self._running, timeout=_FINISH_SECONDS)

    def _forget(self, running: asyncio.Future[Any]) -> None:
        self._running.discard(running)
        if not running.cancelled():
            running.exception()  # nobody may be left to ask
