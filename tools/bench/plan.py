"""How much is measured, and how long that takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CALLERS = 16  # the load that the goals are about, and the original's own
IMAGES_PER_CALL = 5
_OVERHEAD_SECONDS = 1.5  # warm-up and the last answers of one measurement
_START_SECONDS = 16  # two starts of a server


@dataclass(frozen=True)
class Plan:
    """`growth_images`: how many images the first form has served when its memory is looked at again."""

    repeats: int = 3
    seconds: float = 4
    concurrency: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)
    direct_concurrency: Sequence[int] = (1, 4, 16, 64)
    single_calls: int = 10
    list_images: int = 1000
    growth_images: int = 10_000
    idle_seconds: float = 5

    def minutes(self, forms: int) -> float:
        """A rough forecast, at 100 images a second."""
        step = self.seconds + _OVERHEAD_SECONDS
        a_repeat = len(self.concurrency) * (forms + 1) * step
        a_repeat += (len(self.direct_concurrency) + 2) * forms * step
        a_repeat += self.single_calls * (forms + 1) * 0.4 + 2 * step
        lists = 2 * self.list_images / 100 * min(self.repeats, 2) + 2 * self.list_images / 80
        growth = max(0, self.growth_images / 100 - self.repeats * len(self.concurrency) * self.seconds)
        return (self.repeats * a_repeat + lists + growth + (forms + 1) * (_START_SECONDS + self.idle_seconds)) / 60


QUICK = Plan(
    repeats=1,
    seconds=2,
    concurrency=(1, 16),
    direct_concurrency=(16,),
    single_calls=5,
    list_images=100,
    growth_images=0,
    idle_seconds=2,
)
