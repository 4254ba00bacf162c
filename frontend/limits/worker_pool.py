"""Several workers side by side, and what they produce, as one stream that can be closed at any time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from anyio import create_memory_object_stream
from anyio.streams.memory import MemoryObjectSendStream

T = TypeVar("T")
Worker = Callable[[MemoryObjectSendStream[T]], Awaitable[None]]


async def as_produced(worker: Worker[T], count: int, backlog: int) -> AsyncGenerator[T, None]:
    """Run `worker` `count` times at once and yield what they send, as they send it.

    A worker waits while `backlog` items wait for the reader. What one raises is raised here, after the items that
    were ready, and ends the others; so does closing the generator.
    """
    sender, receiver = create_memory_object_stream[T](backlog)
    running = asyncio.create_task(_together(worker, count, sender))
    running.add_done_callback(lambda _: sender.close())  # also if it is cancelled before it begins, or again at its end
    try:
        async for item in receiver:
            yield item
        await running
    finally:
        receiver.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _together(worker: Worker[T], count: int, sender: MemoryObjectSendStream[T]) -> None:
    tasks = [asyncio.ensure_future(worker(sender)) for _ in range(count)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
