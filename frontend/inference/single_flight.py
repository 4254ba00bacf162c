"""Concurrent calls for the same key share one piece of work: the first caller starts it, and all get its result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from frontend.inference.shielded_calls import wait_shielded

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    callers: int = 0


class SingleFlight(Generic[K, T]):
    """Runs at most one piece of work for each key at a time. Results are not remembered."""

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[T]] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._flights

    async def run(self, key: K, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of the flight for `key`, or raise its exception; `work` starts a flight if there is none.

        A cancelled caller leaves the flight to the others. The last one to leave cancels the work, and waits for its
        end: work that goes on keeps its caller's slot.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(work()))
            flight.task.add_done_callback(lambda task: self._land(key, task))
        flight.callers += 1
        try:
            await asyncio.wait({flight.task})
        except asyncio.CancelledError:
            if flight.callers == 1 and not flight.task.done():
                self._land(key, flight.task)  # a new caller starts a new flight
                flight.task.cancel()
                await wait_shielded(flight.task)
            raise
        finally:
            flight.callers -= 1
        return flight.task.result()

    def _land(self, key: K, task: asyncio.Task[T]) -> None:
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]
        if task.done() and not task.cancelled():
            task.exception()  # mark it as retrieved: the callers may be gone
