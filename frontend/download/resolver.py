"""Resolves host names with getaddrinfo(), on threads that callers share fairly."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import Any, TypeAlias

from aiohttp.abc import AbstractResolver, ResolveResult
from anyio import current_time, fail_after

from frontend.limits.fair_semaphore import FairSemaphore, Holder

# getaddrinfo() cannot be cancelled: a name server that does not answer keeps a thread busy for many seconds.
RESOLVER_THREADS = 64
_REMEMBERED_SECONDS = 10.0  # as in aiohttp
_MAX_REMEMBERED = 1000

_Found: TypeAlias = "list[tuple[Any, ...]]"
# The caller and its deadline on the event loop's clock. aiohttp passes neither to a resolver.
_resolving_for: ContextVar[tuple[str, float]] = ContextVar("resolving_for", default=("", inf))


@contextmanager
def resolving_for(caller: str, deadline: float) -> Iterator[None]:
    """Count lookups in this context as `caller`'s. They wait for a thread until `deadline` (event loop time)."""
    token = _resolving_for.set((caller, deadline))
    try:
        yield
    finally:
        _resolving_for.reset(token)


class SystemResolver(AbstractResolver):
    """Runs getaddrinfo() on its own threads: slow names must not use up the few threads of the event loop.

    A caller holds a thread until getaddrinfo() returns, even if its download has ended before. So a caller whose names
    are never answered runs out of its own share of the threads. Callers share the lookup of a name only when it has got
    a thread: a lookup that still waits for its own caller's share would delay the others.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolve")
        self._slots = FairSemaphore(RESOLVER_THREADS)
        # Running lookups, and those that succeeded in the last _REMEMBERED_SECONDS, by host and address family.
        self._lookups: dict[tuple[str, int], asyncio.Future[_Found]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of `host`. Raises OSError if the lookup fails or gets no thread before the deadline."""
        lookup = self._lookups.get((host, family)) or await self._begin(host, family)
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=protocol, flags=socket.AI_NUMERICHOST
            )
            for kind, _, protocol, _, address in await asyncio.shield(lookup)
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _begin(self, host: str, family: int) -> asyncio.Future[_Found]:
        caller, deadline = _resolving_for.get()
        holder = Holder(caller)
        try:
            with fail_after(max(deadline - current_time(), 0)):
                await self._slots.acquire(holder)
        except TimeoutError as error:
            raise OSError("no thread was free for the lookup") from error
        if lookup := self._lookups.get((host, family)):  # another caller has begun it meanwhile
            self._slots.release(holder)
            return lookup
        lookup = asyncio.wrap_future(
            self._threads.submit(socket.getaddrinfo, host, None, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        )
        lookup.add_done_callback(lambda done: self._end(done, holder, host, family))
        self._lookups[host, family] = lookup
        if len(self._lookups) > _MAX_REMEMBERED:
            del self._lookups[next(iter(self._lookups))]
        return lookup

    def _end(self, lookup: asyncio.Future[_Found], holder: Holder, host: str, family: int) -> None:
        self._slots.release(holder)
        if lookup.cancelled() or lookup.exception():
            self._forget(lookup, host, family)
        else:
            asyncio.get_running_loop().call_later(_REMEMBERED_SECONDS, self._forget, lookup, host, family)

    def _forget(self, lookup: asyncio.Future[_Found], host: str, family: int) -> None:
        if self._lookups.get((host, family)) is lookup:
            del self._lookups[host, family]
