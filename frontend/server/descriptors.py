"""Open files: enough of them, half for the connections of clients, the rest for downloads and all else."""

from __future__ import annotations

import resource

MOST_CONNECTIONS = 4096  # of clients, in one process: 5 kB each while they wait, and the work has bounds of its own


def raise_limit() -> None:
    """Raise the soft limit of this process and its children as far as they need and the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = 2 * MOST_CONNECTIONS
    if hard != resource.RLIM_INFINITY:
        enough = min(enough, hard)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


def most_connections() -> int:
    """How many connections of clients this process may hold, by the limit as it is now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, soft // 2)
