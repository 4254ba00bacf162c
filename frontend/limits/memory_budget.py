"""How many bytes image files, request bodies and answers may hold in memory, shared among callers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from math import inf

from frontend.errors import Overloaded
from frontend.limits.fair_share import may_hold

# A reservation is stalled if it gets less than _PROGRESS_BYTES in _STALLED_SECONDS. With the time alone, a sender that
# trickles one byte at a time would look busy.
_STALLED_SECONDS = 1.0
_PROGRESS_BYTES = 65_536


class MemoryBudget:
    """Grants bytes while there are any, first to the caller that holds the fewest.

    `fair_share.may_hold` limits the bytes of each caller. Two more rules keep transfers moving when memory is short:

    - While someone waits for memory, stalled reservations are evicted, the longest idle one first. A reservation is
      stalled if its sender sends too little, or if it waits for memory itself. The first kind gives way to
      callers that hold no more than its own caller (or to all, if nothing else moves). The second kind gives way only
      to callers that hold less than its own caller even with the bytes that they wait for.
    - One reservation at a time may overdraw the budget: the oldest one that waits. Otherwise all could wait while
      each holds a part of a file. So the bytes in flight stay below the capacity plus one file.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.held_bytes = 0
        self._capacity = capacity_bytes
        self._held: Counter[str] = Counter()  # bytes by caller; callers without any are not kept
        self._reservations: dict[Reservation, None] = {}  # those that hold bytes, the oldest first
        self._waiting: dict[Reservation, tuple[int, asyncio.Future[None]]] = {}  # in the order in which they asked
        self._overdraft: Reservation | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    async def acquire(self, reservation: Reservation, size_bytes: int) -> None:
        """Wait until `reservation` has `size_bytes` more."""
        granted = asyncio.get_running_loop().create_future()
        self._waiting[reservation] = (size_bytes, granted)
        self._grant()
        if granted.done():
            return
        try:
            await granted
        finally:
            self._waiting.pop(reservation, None)

    def acquire_nowait(self, reservation: Reservation, size_bytes: int) -> bool:
        """Give `reservation` `size_bytes` more, perhaps by evicting stalled ones. Return whether it did."""
        while not self._fits(reservation, size_bytes):
            if not self._evict_for(reservation, size_bytes):
                return False
        self._give(reservation, size_bytes)
        return True

    def release(self, reservation: Reservation) -> None:
        """Give back everything that `reservation` holds."""
        self._take_back(reservation)
        self._grant()

    def shrink(self, reservation: Reservation, size_bytes: int) -> None:
        """Give back everything that `reservation` holds beyond `size_bytes`."""
        self._shrink(reservation, size_bytes)
        self._grant()

    def _take_back(self, reservation: Reservation) -> None:
        if reservation not in self._reservations:
            return
        del self._reservations[reservation]
        self._shrink(reservation, 0)
        if reservation is self._overdraft:
            self._overdraft = None

    def _shrink(self, reservation: Reservation, size_bytes: int) -> None:
        surplus_bytes = max(reservation.held_bytes - size_bytes, 0)
        reservation.held_bytes -= surplus_bytes
        self.held_bytes -= surplus_bytes
        self._held[reservation.caller] -= surplus_bytes
        if not self._held[reservation.caller]:
            del self._held[reservation.caller]

    def _grant(self) -> None:
        while self._waiting:
            reservation = self._next()
            size_bytes, granted = self._waiting[reservation]
            if not granted.done() and not self._fits(reservation, size_bytes):
                if self._evict_for(reservation, size_bytes):
                    continue
                if self._overdraft:
                    return
                reservation = self._overdraft = self._oldest_waiting()
                size_bytes, granted = self._waiting[reservation]
            del self._waiting[reservation]
            if not granted.done():
                self._give(reservation, size_bytes)
                granted.set_result(None)
            elif reservation is self._overdraft and not reservation.held_bytes:
                self._overdraft = None

    def _give(self, reservation: Reservation, size_bytes: int) -> None:
        self._reservations.setdefault(reservation)
        self._held[reservation.caller] += size_bytes
        self.held_bytes += size_bytes
        reservation.grant(size_bytes)

    def _next(self) -> Reservation:
        if self._overdraft in self._waiting:
            return self._overdraft
        return min(self._waiting, key=lambda reservation: self._held[reservation.caller])

    def _oldest_waiting(self) -> Reservation:
        return next((one for one in self._reservations if one in self._waiting), next(iter(self._waiting)))

    def _fits(self, reservation: Reservation, size_bytes: int) -> bool:
        if reservation is self._overdraft:
            return True
        return may_hold(self._held[reservation.caller], size_bytes, self._capacity - self.held_bytes)

    def _evict_for(self, waiting: Reservation, size_bytes: int) -> bool:
        """Evict the reservation that has been stalled for longest, or set a timer for when there may be one."""
        now = asyncio.get_running_loop().time()
        stalled = [one for one in self._reservations if one.idle_since <= now - _STALLED_SECONDS]
        victims = [one for one in stalled if self._gives_way(one, waiting, size_bytes)]
        if not victims and all(one.is_waiting or one in stalled for one in self._reservations):
            victims = [one for one in stalled if not one.is_waiting]
        if not victims:
            self._look_again_when_one_stalls(now)
            return False
        victim = min(victims, key=lambda one: one.idle_since)
        self._take_back(victim)
        victim.evict()
        _, granted = self._waiting.pop(victim, (0, None))
        if granted and not granted.done():
            granted.set_exception(Overloaded())
        return True

    def _gives_way(self, stalled: Reservation, waiting: Reservation, size_bytes: int) -> bool:
        own, others = self._held[stalled.caller], self._held[waiting.caller]
        return own > others + size_bytes if stalled.is_waiting else own >= others

    def _look_again_when_one_stalls(self, now: float) -> None:
        if self._stall_timer:
            self._stall_timer.cancel()
        stall_times = [one.idle_since + _STALLED_SECONDS for one in self._reservations]
        next_stall = min((time for time in stall_times if time > now), default=inf)
        if next_stall < inf:
            self._stall_timer = asyncio.get_running_loop().call_at(next_stall, self._grant)


class Reservation:
    """The bytes of one file, body or answer, from the first byte until they are no longer needed.

    Compared by identity.
    """

    def __init__(self, budget: MemoryBudget, caller: str = "", on_evicted: Callable[[], object] = lambda: None) -> None:
        """`on_evicted` is called when the bytes must be freed at once: it drops them and ends their transfer."""
        self.caller = caller
        self.held_bytes = 0
        self.is_waiting = False
        self.is_complete = False
        self.is_evicted = False
        self.on_evicted = on_evicted
        self._budget = budget
        self._asked_at = self._progress_at = 0.0  # on the event loop's clock
        self._bytes_since_progress = 0

    @property
    def idle_since(self) -> float:
        """When it last got bytes or, while it waits for memory, when it asked for it. Infinite once complete."""
        if self.is_complete:
            return inf
        return self._asked_at if self.is_waiting else self._progress_at

    async def acquire(self, size_bytes: int) -> None:
        """Wait until there is room for `size_bytes` more. Raises Overloaded if evicted before or during the wait."""
        if self.is_evicted:
            raise Overloaded()
        if not size_bytes:  # the last read of a body is empty, and a file that has arrived must not wait
            return
        self._asked_at = asyncio.get_running_loop().time()
        self.is_waiting = True
        await self._budget.acquire(self, size_bytes)
        self.is_waiting = False  # it stays set when the wait is cancelled: the caller then knows what it waited for

    def acquire_nowait(self, size_bytes: int) -> bool:
        """Get `size_bytes` more if there is room for them now. Return whether there was."""
        self._asked_at = asyncio.get_running_loop().time()
        return self._budget.acquire_nowait(self, size_bytes)

    def complete(self) -> None:
        """Note that the whole file has arrived. The reservation can no longer stall, so it is never evicted."""
        self.is_complete = True

    def note_progress(self, size_bytes: int = _PROGRESS_BYTES) -> None:
        """Note that bytes move although no more are acquired: a client reads them, or sends those of a reservation."""
        self._bytes_since_progress += size_bytes
        if self._bytes_since_progress >= _PROGRESS_BYTES:
            self._bytes_since_progress = 0
            self._progress_at = asyncio.get_running_loop().time()

    def shrink(self, size_bytes: int) -> None:
        """Give back everything beyond `size_bytes`."""
        self._budget.shrink(self, size_bytes)

    def release(self) -> None:
        """Give everything back."""
        self._budget.release(self)

    def grant(self, size_bytes: int) -> None:
        """Note that the budget has granted `size_bytes`."""
        now = asyncio.get_running_loop().time()
        self._progress_at += now - self._asked_at  # the sender is not to blame for the wait
        self.note_progress(size_bytes if self.held_bytes else _PROGRESS_BYTES)
        self.held_bytes += size_bytes

    def evict(self) -> None:
        """Note that the budget has taken everything back."""
        self.is_evicted = True
        self.on_evicted()
