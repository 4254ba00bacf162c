"""FairSemaphore are shared fairly between requests, and none is ever lost."""

from __future__ import annotations

import asyncio
import random

import pytest

from frontend.limits.fair_semaphore import FairSemaphore, Holder


async def asking(places: FairSemaphore, party: Holder) -> asyncio.Task[None]:
    """A task that waits for a place, and has begun to."""
    task = asyncio.create_task(places.take(party))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def take_all(places: FairSemaphore, party: Holder) -> asyncio.Task[None]:
    """Take places until the next has to be waited for; returns who waits for it."""
    while (task := await asking(places, party)).done():
        pass
    return task


async def abandon(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_one_alone_gets_half_and_the_next_finds_room_at_once() -> None:
    places, long, small = FairSemaphore(64), Holder(), Holder()
    waiting = await take_all(places, long)
    assert (long.held, places.free) == (32, 32)
    assert (await asking(places, small)).done()
    await abandon(waiting)


async def test_two_that_want_all_end_with_a_third_each() -> None:
    places, one, other = FairSemaphore(63), Holder(), Holder()
    waiting = [await take_all(places, one), await take_all(places, other)]
    for _ in range(200):
        places.give_back(one if one.held > other.held else other)
        await asyncio.sleep(0)
        waiting = [
            task if not task.done() else await asking(places, party)
            for task, party in zip(waiting, (one, other), strict=True)
        ]
    assert abs(one.held - 21) <= 1
    assert abs(other.held - 21) <= 1
    await abandon(*waiting)


async def test_a_freed_place_goes_to_whoever_holds_fewest_then_to_who_waited_longest() -> None:
    places = FairSemaphore(3)
    first, second, third, fourth = Holder(), Holder(), Holder(), Holder()
    for party in (first, second, third):
        await places.take(party)
    more = await asking(places, first)
    late, later = await asking(places, fourth), await asking(places, Holder())
    places.give_back(second)
    await asyncio.sleep(0)
    assert (more.done(), late.done(), later.done()) == (False, True, False)
    places.give_back(third)
    await asyncio.sleep(0)
    assert (more.done(), later.done()) == (False, True)
    await abandon(more)


async def test_who_stops_waiting_leaves_its_turn_to_the_next() -> None:
    places, holder = FairSemaphore(1), Holder()
    await places.take(holder)
    gone, staying = await asking(places, Holder()), await asking(places, Holder())
    gone.cancel()
    places.give_back(holder)  # before the cancelled one has run
    await asyncio.wait_for(staying, 1)
    assert gone.cancelled()
    assert places.free == 0


async def test_a_place_that_is_given_to_one_just_cancelled_comes_back() -> None:
    places, holder, unlucky = FairSemaphore(1), Holder(), Holder()
    await places.take(holder)
    task = await asking(places, unlucky)
    places.give_back(holder)  # the place is handed over …
    task.cancel()  # … and its new owner is cancelled before it knows
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (places.free, unlucky.held) == (1, 0)


async def test_whatever_happens_no_place_is_lost() -> None:
    places, chance = FairSemaphore(5), random.Random(6)

    async def use(party: Holder) -> None:
        await places.take(party)
        try:
            await asyncio.sleep(chance.random() / 1000)
        finally:
            places.give_back(party)

    tasks = [asyncio.create_task(use(Holder())) for _ in range(500)]
    for task in chance.sample(tasks, 250):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert places.free == 5
