"""The rate limit: how many images a caller may request per period. Each worker process counts separately."""

from __future__ import annotations

import hashlib
import math
import os
import time

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from frontend.errors import RateLimited, TooManyImages

# Callers share this many counters, so memory stays bounded however many callers there are. A client cannot
# choose which callers share its counter, because that depends on a secret of this process.
_COUNTERS = 8192


class RateLimit:
    """A limit such as `600/minute` over a sliding window, applied to each caller."""

    def __init__(self, limit: str) -> None:
        self._limit = checked_limit(limit)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._secret = os.urandom(16)

    def check(self, caller: str) -> None:
        """Raise RateLimited if `caller` may not request one more image."""
        counter = self._counter(caller)
        if not self._limiter.test(self._limit, counter):
            raise self._rate_limited(counter)

    def charge(self, caller: str, images: int) -> None:
        """Count `images` for `caller`.

        Raises RateLimited if that exceeds the limit now, TooManyImages if it always would. A refused request is not
        counted.
        """
        if images > self._limit.amount:
            raise TooManyImages(max=self._limit.amount)
        counter = self._counter(caller)
        if not self._limiter.hit(self._limit, counter, cost=images):
            raise self._rate_limited(counter)

    def _counter(self, caller: str) -> str:
        digest = hashlib.blake2b(caller.encode(), digest_size=8, key=self._secret).digest()
        return str(int.from_bytes(digest, "big") % _COUNTERS)

    def _rate_limited(self, counter: str) -> RateLimited:
        reset_time = self._limiter.get_window_stats(self._limit, counter).reset_time
        return RateLimited(seconds=max(math.ceil(reset_time - time.time()), 1))


def checked_limit(limit: str) -> RateLimitItem:
    """Parse a limit such as `600/minute`. Raises ValueError."""
    try:
        item = parse(limit)
    except ValueError:
        item = None
    if item is None or not item.amount:
        raise ValueError("write it like 600/minute")
    return item
