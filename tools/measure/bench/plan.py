"""How much the benchmark measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CALLERS = 16  # the load that the goals are about
IMAGES_PER_CALL = 5
WARM_UP_SECONDS = 0.5


@dataclass(frozen=True)
class Plan:
    """`costs`: also measure memory and idle CPU, which takes one more start of each server."""

    repeats: int = 3
    seconds: float = 4
    concurrency: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)
    direct_concurrency: Sequence[int] = (1, 16, 64)
    single_calls: int = 10
    list_images: int = 1000
    costs: bool = True

    def minutes(self, variants: int) -> float:
        """A rough estimate, for servers that classify 100 images per second and start in 15 s."""
        calls = [self.seconds + WARM_UP_SECONDS + 2 * level * IMAGES_PER_CALL / 100 for level in self.concurrency]
        direct = len(self.direct_concurrency) * (self.seconds + 3)  # perf_analyzer reads its input first
        repeat = (variants + 1) * (sum(calls) + self.single_calls * 0.3) + variants * (direct + 2 * self.seconds)
        starts = (variants + 1) * (15 + 25 * self.costs)
        return (starts + self.repeats * (repeat + self.seconds + self.list_images / 100)) / 60


QUICK = Plan(1, 2, (1, 16), (16,), single_calls=5, list_images=100, costs=False)
