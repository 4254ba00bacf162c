"""A number of places that requests share fairly, so that a long list never shuts out a short one."""

from __future__ import annotations

import asyncio


class FairSemaphore:
    """Hands out places one at a time, to whoever holds the fewest; among equals to whoever has waited longest.

    A request gets a further place only while it holds fewer than are free. One alone holds half of them, two hold a
    third each: the next request finds room at once, and with very many it is the first to get the place that is freed.
    """

    def __init__(self, count: int) -> None:
        self.free = count
        self._waiting: dict[Holder, asyncio.Future[None]] = {}  # in the order in which they asked

    def _hand_out(self) -> None:
        while self._waiting:
            party = min(self._waiting, key=lambda party: party.held)
            if party.held >= self.free:
                return
            waiter = self._waiting.pop(party)
            if not waiter.cancelled():
                self.free -= 1
                party.held += 1
                waiter.set_result(None)

    async def take(self, party: Holder) -> None:
        """Return once `party` has one more place. It may wait for only one at a time."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[party] = waiter
        self._hand_out()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._waiting.pop(party, None)
            else:  # it was given a place in the moment in which it was cancelled
                self.give_back(party)
            raise

    def give_back(self, party: Holder) -> None:
        self.free += 1
        party.held -= 1
        self._hand_out()


class Holder:
    """One request among those that share; compared by identity."""

    def __init__(self) -> None:
        self.held = 0
