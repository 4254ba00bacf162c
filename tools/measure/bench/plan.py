"""How much is measured, and how long that takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CALLERS = 16  # the load that the goals are about, and the original's own
IMAGES_PER_CALL = 5
_WARM_UP_SECONDS = 0.5
_INPUT_SECONDS = 2  # for perf_analyzer to be given and to read its input
_SINGLE_SECONDS = 0.3  # one single call and the pause before it
_START_SECONDS = 20  # two starts of a server, and some work


@dataclass(frozen=True)
class Plan:
    """`growth_images`: how many images the first form has served when its memory is looked at again."""

    repeats: int = 3
    seconds: float = 4
    concurrency: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)
    direct_concurrency: Sequence[int] = (1, 16, 64)
    single_calls: int = 10
    list_images: int = 1000
    growth_images: int = 10_000
    idle_seconds: float = 5

    def minutes(self, forms: int) -> float:
        """A rough forecast, for servers that classify 100 images a second."""
        calls = [self.seconds + _WARM_UP_SECONDS + 2 * level * IMAGES_PER_CALL / 100 for level in self.concurrency]
        direct = len(self.direct_concurrency) * (self.seconds + _INPUT_SECONDS)
        limits = 2 * self.seconds
        single = self.single_calls * _SINGLE_SECONDS
        first_form = 2 * (self.seconds + _WARM_UP_SECONDS) + 2 * self.list_images / 100
        a_repeat = (forms + 1) * (sum(calls) + single) + forms * (direct + limits) + first_form
        once = (forms + 1) * (_START_SECONDS + self.idle_seconds) + 2 * self.list_images / 80
        once += max(0, self.growth_images / 100 - self.repeats * (sum(calls) + direct))
        return (self.repeats * a_repeat + once) / 60


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
