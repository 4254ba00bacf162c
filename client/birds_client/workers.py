"""Runs several workers concurrently and merges their items into one stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
Worker = Callable[[Callable[[T], Awaitable[None]]], Awaitable[None]]


@dataclass
class _End:
    error: Exception | None


async def run_workers(worker: Worker[T], count: int) -> AsyncGenerator[T, None]:
    """Run `worker` `count` times concurrently and yield the items that the workers send.

    Each worker waits while `count` items wait for the reader. An exception of one worker is raised here, after the
    items that were sent before it, and cancels the other workers. Closing the generator cancels all of them.
    """
    sent: asyncio.Queue[T | _End] = asyncio.Queue(count)
    running = asyncio.create_task(_run(worker, count, sent))
    try:
        while not isinstance(item := await sent.get(), _End):
            yield item
        if item.error:
            raise item.error
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _run(worker: Worker[T], count: int, sent: asyncio.Queue[T | _End]) -> None:
    tasks = [asyncio.ensure_future(worker(sent.put)) for _ in range(count)]
    error = None
    try:
        await asyncio.gather(*tasks)
    except Exception as raised:
        error = raised
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await sent.put(_End(error))
