"""Waiting for a condition in asynchronous tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from anyio import fail_after


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Return once `condition()` is true. Raises TimeoutError after `seconds`."""
    with fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - any condition, not only events
            await asyncio.sleep(0.01)
