"""Memory is shared fairly among callers, stalled transfers give way, and every byte comes back."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontend.errors import Overloaded
from frontend.limits import memory_budget
from frontend.limits.memory_budget import MemoryBudget, Reservation


async def granted(task: asyncio.Task[None]) -> bool:
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task.done()


def asking(reservation: Reservation, size_bytes: int) -> asyncio.Task[None]:
    return asyncio.create_task(reservation.acquire(size_bytes))


async def complete(budget: MemoryBudget, caller: str, size_bytes: int) -> Reservation:
    """Return a reservation whose file has arrived, so that it cannot stall."""
    reservation = Reservation(budget, caller)
    await asyncio.wait_for(reservation.acquire(size_bytes), 60)
    reservation.complete()
    return reservation


async def test_caller_alone_gets_all_but_the_reserve() -> None:
    budget = MemoryBudget(400)
    for _ in range(3):
        await complete(budget, "a", 100)
    overdraft, waiting = Reservation(budget, "a"), Reservation(budget, "a")
    await overdraft.acquire(1)  # one at a time may overdraw its share
    task = asking(waiting, 1)
    assert not await granted(task)
    await asyncio.wait_for(Reservation(budget, "b").acquire(90), 60)
    task.cancel()


async def test_no_bytes_are_granted_at_once() -> None:
    """The last read of a body is empty: a file that has arrived must not wait for memory."""
    budget = MemoryBudget(100)
    reservation = Reservation(budget, "a")
    await reservation.acquire(70)
    await complete(budget, "b", 30)
    await complete(budget, "c", 1)  # the one that may overdraw is another
    await asyncio.wait_for(reservation.acquire(0), 60)
    assert not reservation.is_waiting


async def test_stalled_reservation_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_budget, "_STALLED_SECONDS", 0.05)
    budget, evicted = MemoryBudget(100), []
    older = Reservation(budget, "a", on_evicted=lambda: evicted.append("older"))
    newer = Reservation(budget, "b", on_evicted=lambda: evicted.append("newer"))
    await older.acquire(40)
    await newer.acquire(40)
    await complete(budget, "c", 20)  # the one that may overdraw is another
    overdraft = Reservation(budget, "d")
    await overdraft.acquire(1)
    await asyncio.wait_for(Reservation(budget, "e").acquire(10), 60)
    assert evicted == ["older"]
    with pytest.raises(Overloaded):
        await older.acquire(1)


async def test_trickling_sender_counts_as_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_budget, "_STALLED_SECONDS", 0.05)
    budget = MemoryBudget(100_000)
    trickling = Reservation(budget, "a")
    await trickling.acquire(75_000)
    await complete(budget, "b", 25_000)
    await Reservation(budget, "c").acquire(1)  # may overdraw

    async def trickle() -> None:
        while True:
            await trickling.acquire(1)
            await asyncio.sleep(0.005)

    task = asyncio.create_task(trickle())
    await asyncio.wait_for(Reservation(budget, "d").acquire(10), 60)
    assert trickling.is_evicted
    with pytest.raises(Overloaded):
        await task


async def test_large_caller_cannot_evict_a_smaller_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_budget, "_STALLED_SECONDS", 0.01)
    budget = MemoryBudget(100)
    slow = Reservation(budget, "small")
    await slow.acquire(1)
    await complete(budget, "large", 72)
    await Reservation(budget, "large").acquire(1)
    waiting = asking(Reservation(budget, "large"), 10)
    await asyncio.sleep(0.1)
    assert not slow.is_evicted
    waiting.cancel()


async def test_files_larger_than_the_budget_take_turns() -> None:
    budget, most = MemoryBudget(1000), 0

    async def transfer(caller: str) -> None:
        nonlocal most
        reservation = Reservation(budget, caller)
        for _ in range(30):
            await reservation.acquire(50)
            most = max(most, budget.held_bytes)
            await asyncio.sleep(0)
        reservation.complete()
        reservation.release()

    await asyncio.wait_for(asyncio.gather(*(transfer(str(n % 3)) for n in range(12))), 60)
    assert budget.held_bytes == 0
    assert most <= 1000 + 1500


@settings(max_examples=60)
@given(
    st.integers(100, 2000),
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 400), st.booleans()), min_size=1, max_size=40),
    st.integers(0, 1_000_000),
)
async def test_no_byte_is_lost_and_everyone_finishes(
    capacity: int, transfers: list[tuple[int, int, bool]], seed: int
) -> None:
    """Transfers of any size from a few callers, some cancelled at a random moment. No sender stalls."""
    budget, most, chance = MemoryBudget(capacity), 0, random.Random(seed)

    async def transfer(caller: int, size: int) -> None:
        nonlocal most
        reservation = Reservation(budget, str(caller))
        try:
            while size:
                chunk = min(size, chance.randint(1, 100))
                await reservation.acquire(chunk)
                size -= chunk
                most = max(most, budget.held_bytes)
                await asyncio.sleep(0)
            reservation.complete()
            await asyncio.sleep(0)
        finally:
            reservation.release()

    tasks = [(asyncio.create_task(transfer(c, size)), is_cancelled) for c, size, is_cancelled in transfers]
    for task, is_cancelled in tasks:
        if is_cancelled:
            for _ in range(chance.randint(0, 3)):
                await asyncio.sleep(0)
            task.cancel()
    await asyncio.wait_for(asyncio.gather(*(task for task, is_cancelled in tasks if not is_cancelled)), 60)
    await asyncio.gather(*(task for task, _ in tasks), return_exceptions=True)
    assert budget.held_bytes == 0
    assert most <= capacity + max(size for _, size, _ in transfers)
