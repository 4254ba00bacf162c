"""Several workers side by side. What they produce is one stream, which can be closed at any time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from anyio import create_memory_object_stream
from anyio.streams.memory import MemoryObjectSendStream

T = TypeVar("T")
Worker = Callable[[MemoryObjectSendStream[T]], Awaitable[None]]


async def as_produced(worker: Worker[T], count: int, backlog: int) -> AsyncGenerator[T, None]:
    """Run `count` copies of `worker` at once and yield what they send, in the order in which they send it.

    Workers wait while `backlog` items wait for the reader. When a worker raises, the items that were ready are
    yielded first; then the error is raised here and the other workers are cancelled. Closing the generator cancels
    all workers.
    """
    sender, receiver = create_memory_object_stream[T](backlog)
    running = asyncio.create_task(_run_all(worker, count, sender))
    # A callback closes the stream in every case: also when the task is cancelled before it starts.
    running.add_done_callback(lambda _: sender.close())
    try:
        async for item in receiver:
            yield item
        await running
    finally:
        receiver.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _run_all(worker: Worker[T], count: int, sender: MemoryObjectSendStream[T]) -> None:
    tasks = [asyncio.ensure_future(worker(sender)) for _ in range(count)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
