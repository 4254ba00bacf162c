"""A number of bytes that all downloads share, so that many large ones at once wait for each other, not for memory."""

from __future__ import annotations

import asyncio


class MemoryBudget:
    """Hands out bytes while there are any.

    Without care everybody could end up waiting while holding a part. So the oldest holder never waits: the bytes in
    flight stay below the capacity plus one file, and something always gets done.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._holders: dict[Reservation, int] = {}  # in the order of their first bytes
        self._waiters: set[asyncio.Future[None]] = set()
        self.held_bytes = 0

    async def take(self, share: Reservation, size_bytes: int) -> None:
        while self.held_bytes + size_bytes > self._capacity and share is not next(iter(self._holders), share):
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
        self._holders[share] = self._holders.get(share, 0) + size_bytes
        self.held_bytes += size_bytes

    def give_back(self, share: Reservation) -> None:
        self.held_bytes -= self._holders.pop(share, 0)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


class Reservation:
    """What one download holds of the budget, from its first byte until nobody needs its bytes any more."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self.waiting = False

    async def take(self, size_bytes: int) -> None:
        """Return once there is room for `size_bytes` more."""
        self.waiting = True
        await self._budget.take(self, size_bytes)
        self.waiting = False  # stays set in whoever is cancelled while waiting

    def release(self) -> None:
        """Give everything back."""
        self._budget.give_back(self)
