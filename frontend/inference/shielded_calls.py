"""Calls that run to their end, for a Triton that a cancelled call can crash.

Before 2.57, Triton could die of signal 11 when a gRPC inference was cancelled, or its gRPC deadline passed, at the
moment in which the inference finished.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf, isinf
from typing import Any, Protocol, TypeVar

from anyio import CancelScope

_FIRST_SAFE_VERSION = (2, 57)
# Time allowed after the caller's deadline. Triton drops a queued image at that deadline, so only a call that hangs
# lasts this long.
_HANGING_SECONDS = 60.0
_FINISH_SECONDS = 5.0

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Call(Awaitable[T_co], Protocol[T_co]):
    """The part of gRPC's UnaryUnaryCall that is used here."""

    def add_done_callback(self, callback: Callable[[Any], None], /) -> None:
        """Call `callback` when the call has succeeded, failed or been cancelled."""

    def cancel(self) -> bool:
        """Cancel the call, if it is still running."""


def survives_cancellation(version: str) -> bool:
    """Whether calls of a Triton of this version may be cancelled; not if it has another form than `2.57.0`."""
    match = re.match(r"(\d+)\.(\d+)\.", version)
    return match is not None and (int(match[1]), int(match[2])) >= _FIRST_SAFE_VERSION


class ShieldedCalls:
    """Runs calls that are never cancelled, and keeps those that outlive their caller."""

    def __init__(self) -> None:
        self._running: set[asyncio.Future[None]] = set()

    async def answer(self, start: Callable[[float | None], Call[T]], timeout_seconds: float | None) -> T:
        """Return the answer of the call that `start(grpc_timeout_seconds)` begins, or raise its error.

        A cancelled caller keeps its slot until the call finishes or times out, so that running work still counts.
        Raises TimeoutError after `timeout_seconds`; the call then continues without a caller.
        """
        call = start(None if timeout_seconds is None else timeout_seconds + _HANGING_SECONDS)
        finished = _finished(call)
        self._running.add(finished)
        finished.add_done_callback(self._running.discard)
        await _wait_shielded(finished, timeout_seconds)
        if not finished.done():
            raise TimeoutError
        return await call

    async def finish(self) -> None:
        """Wait for the calls that still run, for a few seconds at most."""
        if self._running:
            await asyncio.wait(self._running, timeout=_FINISH_SECONDS)


async def cancellable_answer(call: Call[T]) -> T:
    """Return the answer of a gRPC call, which is cancelled with its caller.

    gRPC replaces the CancelledError when a call is cancelled while it is awaited. A cancel scope of anyio does not
    recognise the new one, and a deadline would then look like a cancelled caller.
    """
    try:
        await _finished(call)
    except asyncio.CancelledError:
        call.cancel()
        raise
    return await call


def _finished(call: Call[Any]) -> asyncio.Future[None]:
    """Return a future that is done when the call has succeeded or failed."""
    finished = asyncio.get_running_loop().create_future()
    call.add_done_callback(lambda _: None if finished.done() else finished.set_result(None))
    return finished


async def _wait_shielded(finished: asyncio.Future[None], timeout_seconds: float | None) -> None:
    """Wait until `finished` is done or the time is over. A cancellation is raised only after that."""
    deadline = inf if timeout_seconds is None else time.monotonic() + timeout_seconds
    try:
        await asyncio.wait({finished}, timeout=timeout_seconds)
    except asyncio.CancelledError:
        # Within a cancelled scope every further wait would be cancelled too.
        with CancelScope(shield=True):
            while not finished.done() and (left := deadline - time.monotonic()) > 0:
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({finished}, timeout=None if isinf(left) else left)
        raise
