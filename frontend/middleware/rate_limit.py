"""How many images a caller may ask for in a time. Each process counts for itself."""

from __future__ import annotations

import hashlib
import math
import os
import time
from ipaddress import IPv6Address, IPv6Network, ip_address

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from frontend.errors import RateLimited, TooManyImages

# Addresses share so many counters, so that memory is bounded however many there are. A stranger cannot choose with
# whom he shares one: that depends on a secret of this process.
_COUNTERS = 8192
_IPV6_PREFIX = 64  # what one customer of a provider gets


class RateLimit:
    """A limit such as `600/minute`, over a sliding window, for every caller."""

    def __init__(self, limit: str) -> None:
        self._limit = checked_limit(limit)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._secret = os.urandom(16)

    def caller_at(self, address: str) -> str:
        """The name under which the images of an address are counted."""
        digest = hashlib.blake2b(_network_of(address).encode(), digest_size=8, key=self._secret).digest()
        return str(int.from_bytes(digest, "big") % _COUNTERS)

    def check(self, caller: str) -> None:
        """Raise RateLimited if `caller` may not ask for one image more."""
        if not self._limiter.test(self._limit, caller):
            raise self._refusal(caller)

    def spend(self, caller: str, images: int) -> None:
        """Count `images` for `caller`.

        Raises, and counts nothing, RateLimited if they are too many now, TooManyImages if they always would be.
        """
        if images > self._limit.amount:
            raise TooManyImages(max=self._limit.amount)
        if not self._limiter.hit(self._limit, caller, cost=images):
            raise self._refusal(caller)

    def _refusal(self, caller: str) -> RateLimited:
        reset_time = self._limiter.get_window_stats(self._limit, caller).reset_time
        return RateLimited(seconds=max(math.ceil(reset_time - time.time()), 1))


def checked_limit(limit: str) -> RateLimitItem:
    """Raises ValueError unless `limit` is like `600/minute`."""
    try:
        item = parse(limit)
    except ValueError:
        item = None
    if item is None or not item.amount:
        raise ValueError("write it like 600/minute")
    return item


def _network_of(address: str) -> str:
    try:
        ip = ip_address(address)
    except ValueError:
        return address  # a Unix socket has none
    if isinstance(ip, IPv6Address) and not ip.ipv4_mapped:
        return str(IPv6Network((int(ip), _IPV6_PREFIX), strict=False))
    return str(ip)
