"""The rate limit: how many images a caller may request per period. Each worker process counts separately."""

from __future__ import annotations

import hashlib
import os
import re
import time
from typing import NamedTuple

from frontend.errors import RateLimited, TooManyImages

# Callers share this many counters, so memory stays bounded however many callers there are. A client cannot
# choose which callers share its counter, because that depends on a secret of this process.
_COUNTERS = 8192
_ROUNDING_SECONDS = 1e-6

_PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_LIMIT = re.compile(
    rf"\s*(?P<images>[0-9]+)\s*(?:/|per)\s*(?P<count>[0-9]*)\s*(?P<period>{'|'.join(_PERIODS)})s?\s*",
    re.ASCII | re.IGNORECASE,
)


class RateLimit:
    """A limit such as `600/minute` over a sliding window, applied to each caller.

    Time is cut into periods. A caller's images are those of the current period, and those of the period before in
    proportion to how much of it the window still covers.
    """

    def __init__(self, limit: str) -> None:
        self._max_images, self._period_seconds = parse_limit(limit)
        self._counts: dict[int, _Counts] = {}  # by counter
        self._secret = os.urandom(16)

    def check(self, caller: str) -> None:
        """Raise RateLimited if `caller` may not request one more image."""
        self._counts_with_room(self._counter(caller), 1)

    def charge(self, caller: str, images: int) -> None:
        """Count `images` for `caller`.

        Raises RateLimited if that exceeds the limit now, TooManyImages if it always would. A refused request is not
        counted.
        """
        if images > self._max_images:
            raise TooManyImages(max=self._max_images)
        counter = self._counter(caller)
        counts = self._counts_with_room(counter, images)
        self._counts[counter] = counts._replace(current=counts.current + images)

    def _counter(self, caller: str) -> int:
        digest = hashlib.blake2b(caller.encode(), digest_size=8, key=self._secret).digest()
        return int.from_bytes(digest, "big") % _COUNTERS

    def _counts_with_room(self, counter: int, images: int) -> _Counts:
        """Return the counts of the current period. Raises RateLimited if there is no room for `images` more."""
        period, seconds = divmod(time.monotonic(), self._period_seconds)
        last, previous, current = self._counts.get(counter, _Counts(int(period), 0, 0))
        if last != period:
            previous, current = (current if last == period - 1 else 0), 0
        share_of_previous = 1 - seconds / self._period_seconds
        limit = self._max_images - images + 1  # what is counted may have a fraction, and must be below this
        if previous * share_of_previous + current < limit:
            return _Counts(int(period), previous, current)
        if current < limit:  # there is room as soon as the window covers less of the previous period
            periods = share_of_previous - (limit - current) / previous
        else:  # there is room in the next period, as soon as the window covers less of this one
            periods = share_of_previous + 1 - limit / current
        # Not at the moment itself, at which rounding decides: a moment later.
        raise RateLimited(seconds=int(periods * self._period_seconds + _ROUNDING_SECONDS) + 1)


class _Counts(NamedTuple):
    """The number of a period, and the images of a caller in the previous period and in this one."""

    period: int
    previous: int
    current: int


def parse_limit(limit: str) -> tuple[int, int]:
    """Return the images and the seconds of a limit such as `600/minute` or `100 per 10 minutes`. Raises ValueError."""
    match = _LIMIT.fullmatch(limit)
    if match is not None:
        images, seconds = int(match["images"]), int(match["count"] or 1) * _PERIODS[match["period"].lower()]
        if images and seconds:
            return images, seconds
    raise ValueError("write it like 600/minute, with a period of seconds, minutes, hours or days")
