"""Several workers feed one stream: a slow reader holds them back, and an error or closing ends them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from frontend.limits.worker_pool import Put, as_produced


async def test_items_of_all_workers_are_yielded() -> None:
    names = iter(range(3))

    async def worker(put: Put[tuple[int, int]]) -> None:
        name = next(names)
        for n in range(100):
            await put((name, n))

    items = [item async for item in as_produced(worker, 3, backlog=2)]
    assert sorted(items) == [(name, n) for name in range(3) for n in range(100)]


async def test_slow_reader_holds_the_workers_back() -> None:
    made = 0

    async def worker(put: Put[int]) -> None:
        nonlocal made
        while True:
            made += 1
            await put(made)

    stream = as_produced(worker, 4, backlog=3)
    await anext(stream)
    await asyncio.sleep(0.05)
    assert made <= 1 + 3 + 4  # read, waiting, and one held by each worker
    await stream.aclose()


async def test_error_follows_ready_items_and_ends_workers() -> None:
    ended = asyncio.Event()

    async def worker(put: Put[str]) -> None:
        if not ended.is_set() and first.pop("fails", False):
            await put("ready")
            raise ValueError("broken")
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    first = {"fails": True}
    stream = as_produced(worker, 2, backlog=1)
    assert await anext(stream) == "ready"
    with pytest.raises(ValueError, match="broken"):
        await anext(stream)
    assert ended.is_set()


async def test_worker_that_is_cancelled_ends_the_stream() -> None:
    async def worker(put: Put[str]) -> None:
        await put("ready")
        raise asyncio.CancelledError

    stream = as_produced(worker, 1, backlog=1)
    assert await anext(stream) == "ready"
    with pytest.raises(asyncio.CancelledError):
        await anext(stream)


async def test_closing_cancels_all_workers() -> None:
    cancelled = 0

    async def worker(put: Put[int]) -> None:
        nonlocal cancelled
        await put(1)
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled += 1
            raise

    stream: AsyncGenerator[int, None] = as_produced(worker, 5, backlog=10)
    for _ in range(5):
        await anext(stream)
    await asyncio.sleep(0)
    await stream.aclose()
    assert cancelled == 5
    assert len(asyncio.all_tasks()) == 1


async def test_cancelled_reader_during_failure_leaves_nothing_open(
    recwarn: pytest.WarningsRecorder,
) -> None:
    names = iter(range(2))

    async def worker(put: Put[int]) -> None:
        if next(names):
            raise ValueError("broken")
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)  # like a call to Triton that must not be cancelled
            raise

    async def read() -> None:
        async with aclosing(as_produced(worker, 2, backlog=10)) as stream:
            async for _ in stream:
                pass

    reading = asyncio.create_task(read())
    await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await asyncio.sleep(0.1)
    del reading
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []
