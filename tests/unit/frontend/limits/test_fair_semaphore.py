"""Slots are shared fairly among callers and their requests, and none is ever lost."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontend.limits.fair_semaphore import FairSemaphore, Holder
from frontend.limits.fair_share import may_hold


async def asking(slots: FairSemaphore, holder: Holder) -> asyncio.Task[None]:
    """Return a task that has begun to wait for a slot."""
    task = asyncio.create_task(slots.acquire(holder))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def acquire_all(slots: FairSemaphore, holder: Holder) -> asyncio.Task[None]:
    """Acquire slots until one has to wait; return the task that waits."""
    while (task := await asking(slots, holder)).done():
        pass
    return task


async def abandon(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_caller_alone_gets_all_but_the_reserve() -> None:
    slots, long, small = FairSemaphore(64), Holder("a"), Holder("b")
    waiting = await acquire_all(slots, long)
    assert (long.held, slots.free) == (48, 16)
    assert (await asking(slots, small)).done()
    await abandon(waiting)


async def test_many_requests_of_one_caller_get_one_share() -> None:
    slots = FairSemaphore(64)
    crowd = [await asking(slots, Holder("crowd")) for _ in range(330)]
    assert sum(task.done() for task in crowd) == 48
    for n in range(10):
        assert (await asking(slots, Holder(f"caller {n}"))).done()
    await abandon(*crowd)


async def test_two_greedy_callers_end_with_equal_shares() -> None:
    slots, one, other = FairSemaphore(63), Holder("a"), Holder("b")
    waiting = [await acquire_all(slots, one), await acquire_all(slots, other)]
    for _ in range(200):
        slots.release(one if one.held > other.held else other)
        await asyncio.sleep(0)
        waiting = [
            task if not task.done() else await asking(slots, holder)
            for task, holder in zip(waiting, (one, other), strict=True)
        ]
    assert abs(one.held - 27) <= 1
    assert abs(other.held - 27) <= 1
    await abandon(*waiting)


async def test_released_slot_goes_to_fewest_then_longest_waiting() -> None:
    slots = FairSemaphore(3)
    first, second, third, fourth = Holder("a"), Holder("b"), Holder("c"), Holder("d")
    for holder in (first, second, third):
        await slots.acquire(holder)
    more = await asking(slots, first)
    late, later = await asking(slots, fourth), await asking(slots, Holder("e"))
    slots.release(second)
    await asyncio.sleep(0)
    assert (more.done(), late.done(), later.done()) == (False, True, False)
    slots.release(third)
    await asyncio.sleep(0)
    assert (more.done(), later.done()) == (False, True)
    await abandon(more)


async def test_requests_of_one_caller_share_its_slots() -> None:
    """`old` has asked for a third slot before the newcomers ask for their first."""
    slots, old = FairSemaphore(4), Holder("a")
    await slots.acquire(old)
    await slots.acquire(old)
    await slots.acquire(old)
    more, newcomer = await asking(slots, old), await asking(slots, Holder("a"))
    slots.release(old)
    await asyncio.sleep(0)
    assert (more.done(), newcomer.done()) == (False, True)
    await abandon(more)


async def test_busy_caller_cannot_keep_its_turn() -> None:
    """One slot, a caller with a hundred requests and a caller with one: they take turns."""
    slots, holder = FairSemaphore(1), Holder("c")
    await slots.acquire(holder)
    crowd_holders = [Holder("crowd") for _ in range(100)]
    crowd = [await asking(slots, one) for one in crowd_holders]
    single = await asking(slots, Holder("single"))
    slots.release(holder)
    await asyncio.sleep(0)
    assert crowd[0].done()
    slots.release(crowd_holders[0])
    await asyncio.sleep(0)
    assert single.done()
    await abandon(*crowd)


async def test_cancelled_request_leaves_its_turn_to_the_next() -> None:
    slots, holder = FairSemaphore(1), Holder("a")
    await slots.acquire(holder)
    gone, staying = await asking(slots, Holder("b")), await asking(slots, Holder("c"))
    gone.cancel()
    slots.release(holder)  # before the cancelled task has run
    await asyncio.wait_for(staying, 60)
    assert gone.cancelled()
    assert slots.free == 0


async def test_slot_granted_to_a_cancelled_request_comes_back() -> None:
    slots, holder, unlucky = FairSemaphore(1), Holder("a"), Holder("b")
    await slots.acquire(holder)
    task = await asking(slots, unlucky)
    slots.release(holder)  # the slot is granted …
    task.cancel()  # … and its new holder is cancelled before it knows
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (slots.free, unlucky.held) == (1, 0)


@settings(max_examples=60)
@given(
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=80),
    st.integers(0, 1_000_000),
)
async def test_no_slot_is_lost_and_nobody_starves(count: int, requests: list[tuple[int, bool]], seed: int) -> None:
    """Each request uses four slots one after the other; some are cancelled at a random moment."""
    slots, most, chance = FairSemaphore(count), 0, random.Random(seed)

    async def use(caller: int) -> None:
        nonlocal most
        holder = Holder(str(caller))
        for _ in range(4):
            await slots.acquire(holder)
            most = max(most, count - slots.free)
            try:
                for _ in range(chance.randint(0, 4)):
                    await asyncio.sleep(0)
            finally:
                slots.release(holder)

    tasks = [(asyncio.create_task(use(caller)), is_cancelled) for caller, is_cancelled in requests]
    for task, is_cancelled in tasks:
        if is_cancelled:
            for _ in range(chance.randint(0, 3)):
                await asyncio.sleep(0)
            task.cancel()
    staying = [task for task, is_cancelled in tasks if not is_cancelled]
    await asyncio.wait_for(asyncio.gather(*staying), 60)
    await asyncio.gather(*(task for task, _ in tasks), return_exceptions=True)
    assert slots.free == count
    assert most <= count


@given(st.integers(1, 500), st.integers(1, 8))
def test_full_shares_always_leave_room_for_a_newcomer(capacity: int, callers: int) -> None:
    held = [0] * callers
    while any(may_hold(one, 1, capacity - sum(held)) for one in held):
        for n, one in enumerate(held):
            if may_hold(one, 1, capacity - sum(held)):
                held[n] += 1
    free = capacity - sum(held)
    assert free >= capacity // (3 * callers + 1)
    assert max(held) - min(held) <= 1
