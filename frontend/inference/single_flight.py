"""Concurrent calls for the same key share one piece of work: the first caller does it, and all get its result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from frontend.errors import DeadlineExceeded

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """Runs at most one piece of work for each key at a time. Results are not remembered."""

    def __init__(self) -> None:
        self._flights: dict[K, asyncio.Future[T]] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._flights

    async def run(self, key: K, work: Callable[[], Awaitable[T]]) -> T:
        """Return the result of the running work for `key`, or raise its exception. If there is none, run `work`.

        If the caller that does the work is cancelled or its deadline passes, one of the waiting callers runs its own
        `work`, and the others wait for that. A result that the cancelled caller gets later is lost: with a Triton that
        must not be cancelled, the same image is then classified twice. This happens only when a client leaves.
        """
        while (flight := self._flights.get(key)) is not None:
            await asyncio.wait({flight})
            if not flight.cancelled():
                return flight.result()
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        try:
            result = await work()
        except (asyncio.CancelledError, DeadlineExceeded):
            flight.cancel()
            raise
        except BaseException as error:
            flight.set_exception(error)
            flight.exception()  # mark it as retrieved: maybe nobody else waits
            raise
        else:
            flight.set_result(result)
            return result
        finally:
            del self._flights[key]
