"""How much the benchmark measures."""

from __future__ import annotations

from dataclasses import dataclass

from tools.measure.photos import CAMERA, PHOTO

CALLERS = 16  # the load that the goals are about
LOAD = f"{CALLERS} callers"
CAMERA_LOAD = f"{LOAD}, camera photos"
SINGLE_CALLS = "single calls"  # one after the other, with nothing else to do
IMAGES_PER_CALL = 5
WARM_UP_SECONDS = 0.5
BATCHES = (1, 8)  # of the bare processes


def direct_load(concurrency: int) -> str:
    """The name of the load on Triton alone."""
    return f"direct, {concurrency} at once"


def limit_load(batch: int, photos: str = PHOTO) -> str:
    """The name of the load on the bare processes."""
    return f"limit, batches of {batch}{', camera photos' if photos == CAMERA else ''}"


@dataclass(frozen=True)
class Plan:
    """`seconds` is the length of each measurement."""

    repeats: int = 3
    seconds: float = 4
    concurrency: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    direct_concurrency: tuple[int, ...] = (1, 16, 64)
    single_calls: int = 10

    def __str__(self) -> str:
        callers, direct = (", ".join(map(str, levels)) for levels in (self.concurrency, self.direct_concurrency))
        return (
            f"{self.repeats} × {self.seconds:g} s for each load: {callers} callers; Triton alone with {direct} "
            f"requests at once; {self.repeats} × {self.single_calls} single calls"
        )

    def minutes(self, variants: int) -> float:
        """A rough estimate: 3 s around each measurement, and half a minute to start each server."""
        by_callers, by_variant = len(self.concurrency) + 1, len(self.direct_concurrency) + 2 * len(BATCHES)
        measurements = self.repeats * ((variants + 1) * by_callers + variants * by_variant)
        return (measurements * (self.seconds + 3) + (variants + 1) * 30) / 60


QUICK = Plan(1, 2, (1, 16), (16,), single_calls=5)
