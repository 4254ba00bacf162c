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
        """A rough estimate, for servers that classify 100 images per second and start in 15 s."""
        calls = [self.seconds + WARM_UP_SECONDS + 2 * level * IMAGES_PER_CALL / 100 for level in self.concurrency]
        camera = self.seconds + 2 * CALLERS * IMAGES_PER_CALL / 20
        bare = 2 * len(BATCHES) * self.seconds + len(self.direct_concurrency) * (self.seconds + 3)
        repeat = (variants + 1) * (sum(calls) + camera + self.single_calls * 0.3) + variants * bare
        return ((variants + 1) * 30 + self.repeats * repeat) / 60


QUICK = Plan(1, 2, (1, 16), (16,), single_calls=5)
