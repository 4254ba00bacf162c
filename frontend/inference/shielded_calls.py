"""Calls that run to their end, for a Triton that a cancelled call can crash.

Before 2.57, Triton could die of signal 11 when a gRPC inference was cancelled, or its gRPC deadline passed, at the
moment in which the inference finished.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, TypeVar

from anyio import CancelScope
from grpc import aio

_FIRST_SAFE_VERSION = (2, 57)
# Time allowed after the caller's deadline. Triton drops a queued image at that deadline, so only a call that hangs
# lasts this long.
_HANGING_SECONDS = 60.0
_FINISH_SECONDS = 5.0

T = TypeVar("T")


def survives_cancellation(version: str) -> bool:
    """Whether a Triton of this version may be cancelled. A version in another form than `2.57.0` may not."""
    match = re.match(r"(\d+)\.(\d+)\.", version)
    return match is not None and (int(match[1]), int(match[2])) >= _FIRST_SAFE_VERSION


class ShieldedCalls:
    """Runs calls that are never cancelled, and keeps those that outlive their caller."""

    def __init__(self) -> None:
        self._running: set[asyncio.Future[Any]] = set()

    async def answer(self, call: Callable[[float | None], Awaitable[T]], timeout_seconds: float | None) -> T:
        """Return what `call(grpc_timeout_seconds)` returns, or raise what it raises.

        A cancelled caller keeps its slot until the call finishes or times out, so that running work still counts.
        Raises TimeoutError after `timeout_seconds`; the call then continues without a caller.
        """
        running = asyncio.ensure_future(call(None if timeout_seconds is None else timeout_seconds + _HANGING_SECONDS))
        self._running.add(running)
        running.add_done_callback(self._forget)
        await wait_shielded(running, timeout_seconds)
        if not running.done():
            raise TimeoutError
        return running.result()

    async def finish(self) -> None:
        """Wait for the calls that still run, for a few seconds at most."""
        if self._running:
            await asyncio.wait(self._running, timeout=_FINISH_SECONDS)

    def _forget(self, running: asyncio.Future[Any]) -> None:
        self._running.discard(running)
        if not running.cancelled():
            running.exception()  # mark it as retrieved: the caller may be gone


async def cancellable_answer(call: aio.UnaryUnaryCall[Any, T]) -> T:
    """Return the answer of a gRPC call, which is cancelled with its caller.

    gRPC replaces the CancelledError when a call is cancelled while it is awaited. A cancel scope of anyio does not
    recognise the new one, and a deadline would then look like a cancelled caller.
    """
    done = asyncio.get_running_loop().create_future()
    call.add_done_callback(lambda _: None if done.done() else done.set_result(None))
    try:
        await done
    except asyncio.CancelledError:
        call.cancel()
        raise
    answer: T = await call
    return answer


async def wait_shielded(running: asyncio.Future[Any], timeout_seconds: float | None = None) -> None:
    """Wait until `running` is done or the time is over. A cancellation is raised only after that."""
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
