"""Limits simultaneous connections to each host, and shares them among the callers that download from it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from frontend.limits.fair_semaphore import FairSemaphore, Holder

# aiohttp can bound the connections to a host, but first come, first served: one caller could keep others from a host.
_SLOTS_PER_HOST = 16


class HostSlots:
    """Keeps the slots of each host that a download uses or waits for now."""

    def __init__(self) -> None:
        self._hosts: dict[str, FairSemaphore] = {}
        self._users: dict[str, int] = {}

    @asynccontextmanager
    async def slot(self, host: str, caller: str) -> AsyncIterator[None]:
        """Wait for a slot of `host`, and hold it until the context ends."""
        slots = self._hosts.setdefault(host, FairSemaphore(_SLOTS_PER_HOST))
        self._users[host] = self._users.get(host, 0) + 1
        holder = Holder(caller)
        try:
            await slots.acquire(holder)
            try:
                yield
            finally:
                slots.release(holder)
        finally:
            self._users[host] -= 1
            if not self._users[host]:
                del self._hosts[host], self._users[host]
