"""How many client connections a process may hold, and the open-files limit (RLIMIT_NOFILE) that this depends on."""

from __future__ import annotations

import logging
import resource
import time
from collections import Counter

from frontend.limits.fair_share import may_hold

log = logging.getLogger(__name__)

# A waiting connection costs 5 kB. The work that requests cause has limits of its own.
MAX_CONNECTIONS = 4096
# Below this the frontend could hold fewer than 128 connections, and its own files leave little room for downloads.
MIN_OPEN_FILES = 256
_LOG_INTERVAL_SECONDS = 10.0


class TooFewOpenFiles(Exception):
    """The open-files limit is so low that the frontend could not serve. The message says what to do."""


def raise_open_files_limit() -> None:
    """Raise the soft limit of this process and its children to what they need, as far as the hard limit allows.

    Raises TooFewOpenFiles if the result is below MIN_OPEN_FILES.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * MAX_CONNECTIONS
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        soft = needed
    if soft != resource.RLIM_INFINITY and soft < MIN_OPEN_FILES:
        raise TooFewOpenFiles(
            f"The limit on open files is {soft}, but the frontend needs at least {MIN_OPEN_FILES}. "
            f"Raise it, for example with: ulimit -n {2 * MAX_CONNECTIONS}"
        )


def max_connections() -> int:
    """How many client connections this process may hold: half of its open files. Downloads get the other half."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, soft // 2)


class ConnectionShares:
    """Shares the connections of this process among callers, and logs refused ones, one line per _LOG_INTERVAL_SECONDS.

    `fair_share.may_hold` limits each caller, so that one caller with thousands of idle connections locks nobody out.
    """

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()  # connections by caller; callers without any are not kept
        self._refused_since_last_line = 0
        self._last_line_at = float("-inf")

    def take(self, caller: str, others: int) -> bool:
        """Count one more connection of `caller`, or refuse it. The process holds `others` already."""
        limit = max_connections()
        if may_hold(self._held[caller], 1, limit - others):
            self._held[caller] += 1
            return True
        self._refused_since_last_line += 1
        now = time.monotonic()
        if now - self._last_line_at >= _LOG_INTERVAL_SECONDS:
            refused, self._refused_since_last_line, self._last_line_at = self._refused_since_last_line, 0, now
            log.warning(
                "refused connections: %d; callers share %d, and the last refused caller held %d",
                refused,
                limit,
                self._held[caller],
            )
        return False

    def release(self, caller: str) -> None:
        """Give back one connection of `caller`."""
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]
