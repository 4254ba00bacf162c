"""Several workers side by side. What they produce is one stream, which can be closed at any time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from enum import Enum
from typing import TypeVar

T = TypeVar("T")
Put = Callable[[T], Awaitable[None]]
Worker = Callable[[Put[T]], Awaitable[None]]


class _Sentinel(Enum):
    END = "end"


async def as_produced(worker: Worker[T], count: int, backlog: int) -> AsyncGenerator[T, None]:
    """Run `count` copies of `worker` at once and yield what they put, in the order in which they put it.

    Workers wait while `backlog` items wait for the reader. When a worker raises, the items that were ready are
    yielded first; then the error is raised here and the other workers are cancelled. Closing the generator cancels
    all workers.
    """
    queue: asyncio.Queue[T | _Sentinel] = asyncio.Queue()
    room = asyncio.Semaphore(backlog)

    async def put(item: T) -> None:
        await room.acquire()
        queue.put_nowait(item)

    running = asyncio.create_task(_run_all(worker, count, put))
    # A callback ends the stream in every case: also when the task is cancelled before it starts.
    running.add_done_callback(lambda _: queue.put_nowait(_Sentinel.END))
    try:
        while not isinstance(item := await queue.get(), _Sentinel):
            room.release()
            yield item
        await running  # raises what a worker raised
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        del running  # its error refers to this frame: without the cycle, what they hold is freed at once


async def _run_all(worker: Worker[T], count: int, put: Put[T]) -> None:
    tasks = [asyncio.ensure_future(worker(put)) for _ in range(count)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        del task, tasks  # their errors refer to this frame
