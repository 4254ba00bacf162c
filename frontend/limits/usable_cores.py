"""How many cores this process may use, and how many frontend processes suit them. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path

# When everything runs on one machine, the frontend takes about a sixth of the CPU time of an image. The event loop of
# a worker should use at most 60% of a core. So one worker is enough for about four cores.
CORES_PER_WORKER = 4
MAX_WORKERS = 64
# Tells the processes of the models, which cannot import this module, how many threads to start.
CORES_VARIABLE = "BIRDS_USABLE_CORES"


def worker_count(cores: int) -> int:
    """Return how many frontend processes to run beside Triton on a machine with this many cores."""
    return min(max(1, cores // CORES_PER_WORKER), MAX_WORKERS)


def usable_cores(cgroups: Path = Path("/sys/fs/cgroup"), own_cgroup: Path = Path("/proc/self/cgroup")) -> int:
    """Return the cores that the process may run on, or fewer if a control group limits its CPU time (cgroup v2)."""
    return max(1, int(min(len(os.sched_getaffinity(0)), _cgroup_limit(cgroups, own_cgroup))))


def _cgroup_limit(cgroups: Path, own_cgroup: Path) -> float:
    """Return the smallest limit of the process's control group and of those around it, in cores."""
    try:
        unified = [line[3:] for line in own_cgroup.read_text().splitlines() if line.startswith("0::")]
    except OSError:
        return float("inf")
    folder = cgroups / (unified[0] if unified else "").lstrip("/")
    limits = [_limit_of(group) for group in (folder, *folder.parents) if group.is_relative_to(cgroups)]
    return min(limits, default=float("inf"))


def _limit_of(folder: Path) -> float:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return float(quota) / float(period)
    except (OSError, ValueError):  # no file, or the quota is "max"
        return float("inf")
