"""A fixed number of slots, shared first among callers and then among the requests of each caller."""

from __future__ import annotations

import asyncio
from collections import Counter

from frontend.limits.fair_share import may_hold


class FairSemaphore:
    """Grants slots one at a time, each to the caller that holds the fewest.

    Within a caller the request that holds the fewest comes first. Among equals the one that has waited longest comes
    first. `fair_share.may_hold` limits the slots of each caller, so that a newcomer finds a free slot at once. If very
    many callers have left none free, the newcomer gets the next slot that is released.
    """

    def __init__(self, slots: int) -> None:
        self.free = slots
        self._held: Counter[str] = Counter()  # slots by caller; callers without any are not kept
        # The holders of each caller in the order in which they asked. The callers are in the order of their turns.
        self._waiting: dict[str, dict[Holder, asyncio.Future[None]]] = {}

    def acquire_nowait(self, holder: Holder) -> bool:
        """Give `holder` one more slot if there is one for it and nobody waits. Return whether it got it."""
        if self._waiting or not may_hold(self._held[holder.caller], 1, self.free):
            return False
        self._take(holder)
        return True

    async def acquire(self, holder: Holder) -> None:
        """Wait until `holder` has one more slot. A holder may wait for only one slot at a time."""
        if self.acquire_nowait(holder):
            return
        granted = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(holder.caller, {})[holder] = granted
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                self._forget(holder)
            else:  # the slot was granted just before the cancellation arrived
                self.release(holder)
            raise

    def release(self, holder: Holder) -> None:
        """Give back one slot of `holder`."""
        self.free += 1
        holder.held -= 1
        self._held[holder.caller] -= 1
        if not self._held[holder.caller]:
            del self._held[holder.caller]
        self._grant()

    def _grant(self) -> None:
        while self._waiting:
            caller = min(self._waiting, key=lambda caller: self._held[caller])
            if not may_hold(self._held[caller], 1, self.free):
                return
            holders = self._waiting[caller]
            # Usually a request that holds nothing is near the front, so this rarely looks at all of them.
            holder = next((holder for holder in holders if not holder.held), None) or min(
                holders, key=lambda holder: holder.held
            )
            granted = holders[holder]
            self._forget(holder)
            if holders:  # the caller's next turn comes after everyone else's
                self._waiting[caller] = self._waiting.pop(caller)
            if not granted.cancelled():
                self._take(holder)
                granted.set_result(None)

    def _take(self, holder: Holder) -> None:
        self.free -= 1
        holder.held += 1
        self._held[holder.caller] += 1

    def _forget(self, holder: Holder) -> None:
        holders = self._waiting.get(holder.caller, {})
        holders.pop(holder, None)
        if not holders:
            self._waiting.pop(holder.caller, None)


class Holder:
    """One request of a caller, and the slots that it holds. Compared by identity."""

    def __init__(self, caller: str) -> None:
        self.caller = caller
        self.held = 0
