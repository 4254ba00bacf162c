"""Memory and file descriptors of every process during a soak, and whether they grow."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import psutil

# By how much the processes of a role may together grow from the first quarter to the last: caches and arenas reach a
# limit, a leak does not. More growth than this, in minutes or in hours, is a leak.
GROWTH_MB = 150.0
GROWTH_PART = 0.25
GROWTH_DESCRIPTORS = 60
_LEAST_SAMPLES = 8


@dataclass(frozen=True)
class Sample:
    """One sample of all processes with a role. Memory is the unshared part (USS), in MB."""

    at: float
    processes: int
    memory_mb: float
    descriptors: int


@dataclass
class Samples:
    """All samples, by role."""

    by_role: dict[str, list[Sample]] = field(default_factory=dict)

    def take(self, processes: dict[str, list[psutil.Process]]) -> None:
        """Sample the processes that run now. One that ends during the sample is left out."""
        for role, members in processes.items():
            found = [one for process in members if (one := _sample_of(process))]
            if found:
                memory, descriptors = sum(one[0] for one in found), sum(one[1] for one in found)
                self.by_role.setdefault(role, []).append(Sample(time.monotonic(), len(found), memory, descriptors))

    def rows(self) -> list[dict[str, Any]]:
        """For each role the medians of the first and the last quarter, and the peak."""
        return [
            {"role": role, "samples": len(samples), **_course(samples, "memory_mb"), **_course(samples, "descriptors")}
            for role, samples in sorted(self.by_role.items())
        ]

    def growth(self) -> list[str]:
        """A line for every role that grew beyond the bounds."""
        lines = []
        for row in [row for row in self.rows() if row["samples"] >= _LEAST_SAMPLES]:
            first, last = row["memory_mb_first"], row["memory_mb_last"]
            if last > first * (1 + GROWTH_PART) + GROWTH_MB:
                lines.append(f"{row['role']}: memory grew from {first:.0f} to {last:.0f} MB")
            first, last = row["descriptors_first"], row["descriptors_last"]
            if last > first + GROWTH_DESCRIPTORS:
                lines.append(f"{row['role']}: descriptors grew from {first:.0f} to {last:.0f}")
        return lines


def _course(samples: list[Sample], name: str) -> dict[str, float]:
    """The course of one value: its medians in the first and the last quarter, and its peak."""
    values = [getattr(sample, name) for sample in samples]
    size = max(len(values) // 4, 1)
    first, last = statistics.median(values[:size]), statistics.median(values[-size:])
    return {f"{name}_first": round(first, 1), f"{name}_last": round(last, 1), f"{name}_peak": round(max(values), 1)}


def _sample_of(process: psutil.Process) -> tuple[float, int] | None:
    try:
        return process.memory_full_info().uss / 1e6, process.num_fds()
    except (psutil.Error, OSError):
        return None
