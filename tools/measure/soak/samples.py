"""Memory and file descriptors of every process during a soak, and whether they grow."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field

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

    def rows(self) -> list[dict[str, object]]:
        """For each role the medians of the first and the last quarter, and the peak."""
        rows = []
        for role, samples in sorted(self.by_role.items()):
            first, last = _quarters(samples)
            rows.append(
                {
                    "role": role,
                    "samples": len(samples),
                    "memory_mb_first": round(statistics.median(s.memory_mb for s in first), 1),
                    "memory_mb_last": round(statistics.median(s.memory_mb for s in last), 1),
                    "memory_mb_peak": round(max(s.memory_mb for s in samples), 1),
                    "descriptors_first": round(statistics.median(s.descriptors for s in first)),
                    "descriptors_last": round(statistics.median(s.descriptors for s in last)),
                    "descriptors_peak": max(s.descriptors for s in samples),
                }
            )
        return rows

    def growth(self) -> list[str]:
        """A line for every role that grew beyond the bounds."""
        lines = []
        for role, samples in sorted(self.by_role.items()):
            if len(samples) < _LEAST_SAMPLES:
                continue
            first, last = _quarters(samples)
            memory = statistics.median(s.memory_mb for s in first), statistics.median(s.memory_mb for s in last)
            descriptors = (
                statistics.median(s.descriptors for s in first),
                statistics.median(s.descriptors for s in last),
            )
            if memory[1] > memory[0] * (1 + GROWTH_PART) + GROWTH_MB:
                lines.append(f"{role}: memory grew from {memory[0]:.0f} to {memory[1]:.0f} MB")
            if descriptors[1] > descriptors[0] + GROWTH_DESCRIPTORS:
                lines.append(f"{role}: descriptors grew from {descriptors[0]:.0f} to {descriptors[1]:.0f}")
        return lines


def _quarters(samples: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    size = max(len(samples) // 4, 1)
    return samples[:size], samples[-size:]


def _sample_of(process: psutil.Process) -> tuple[float, int] | None:
    try:
        return process.memory_full_info().uss / 1e6, process.num_fds()
    except (psutil.Error, OSError):
        return None
