"""The figures that can be compared between runs and machines, and the goals for them: one table.

For example, this row demands that the service classifies at least 2.2 times as many images as the baseline:

    Goal(f"images/s at {LOAD} / baseline's", "least", 2.2, Source(LOAD), Source(LOAD, target=BASELINE))

Say that in three repeats the service classifies 142, 139 and 90 images per second at 16 callers, and the baseline 93,
90 and 60. The ratios of the repeats are 1.53, 1.54 and 1.50. The figure is their median, 1.53, so the goal is not met.
The machine was slower in the third repeat, which changed both speeds but hardly their ratio.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel

from tools.measure.bench.plan import BATCHES, CAMERA_LOAD, LOAD, SINGLE_CALLS, Plan, direct_load, limit_load
from tools.measure.bench.results import BASELINE, SPEED, Results
from tools.measure.photos import CAMERA

Bound = Literal["least", "most"]


class Source(NamedTuple):
    """A figure of the variant, or of `target`. Of several loads, the highest value counts."""

    loads: str | Sequence[str]
    name: str = SPEED
    target: str = ""

    def by_repeat(self, results: Results, variant: str) -> dict[int, float]:
        best: dict[int, float] = {}
        for load in [self.loads] if isinstance(self.loads, str) else self.loads:
            for repeat, value in results.by_repeat(self.target or variant, load, self.name).items():
                best[repeat] = max(value, best.get(repeat, value))
        return best


class Goal(NamedTuple):
    """`figure`, divided by `per` if that is given, should be at least (or at most) `value`."""

    name: str
    bound: Bound
    value: float
    figure: Source
    per: Source | None = None


LIMIT = Source([limit_load(batch) for batch in BATCHES])
_CAMERA_LIMIT = Source([limit_load(batch, CAMERA) for batch in BATCHES])
_DIRECT = Source([direct_load(concurrency) for concurrency in Plan.direct_concurrency])
_CALL = Source(SINGLE_CALLS, "p50_ms")
GOALS = (
    Goal(f"images/s at {LOAD} / baseline's", "least", 2.2, Source(LOAD), Source(LOAD, target=BASELINE)),
    Goal(f"images/s at {LOAD} / limit", "least", 0.78, Source(LOAD), LIMIT),
    Goal("images/s direct / limit", "least", 0.92, _DIRECT, LIMIT),
    Goal("camera photos/s / baseline's", "least", 2.0, Source(CAMERA_LOAD), Source(CAMERA_LOAD, target=BASELINE)),
    Goal("camera photos/s / limit", "least", 0.78, Source(CAMERA_LOAD), _CAMERA_LIMIT),
    Goal("single call of 5 / baseline's", "most", 0.65, _CALL, _CALL._replace(target=BASELINE)),
    Goal(f"p99 / p50 at {LOAD}", "most", 1.6, Source(LOAD, "p99_ms"), Source(LOAD, "p50_ms")),
    Goal("frontend, CPU ms per image", "most", 1.1, Source(LOAD, "cpu_ms/frontend")),
    Goal("photos that agree with LiteRT", "least", 0.94, Source("LiteRT", "agreeing")),
    Goal("mean difference of the score", "most", 0.035, Source("LiteRT", "score_difference")),
    Goal("first answer, s", "most", 8, Source("costs", "first_answer_seconds")),
    Goal("idle CPU, % of a core", "most", 1, Source("costs", "idle_cpu_percent")),
    Goal("memory, MB", "most", 1500, Source("costs", "memory_mb")),
)


class Ratio(BaseModel):
    """One figure of one engine variant, with its goal."""

    name: str
    variant: str
    value: float
    goal: float
    bound: Bound

    @property
    def met(self) -> bool:
        return self.value >= self.goal if self.bound == "least" else self.value <= self.goal

    @property
    def goal_text(self) -> str:
        return f"{'≥' if self.bound == 'least' else '≤'} {self.goal:g}"


class Speed(BaseModel):
    """Throughput of a variant at 16 callers, and its CPU milliseconds per image by process: medians of the repeats."""

    variant: str
    images_per_second: float
    cpu_ms: dict[str, float]


class Recorded(BaseModel):
    """What docs/performance.json keeps of a run; scaling.py computes the tables of docs/scaling.md from it."""

    started: str
    cpu: str
    cores: int
    plan: Plan | None = None
    ratios: list[Ratio]
    speeds: list[Speed] = []

    def before(self, ratio: Ratio) -> float | None:
        """The recorded value of a ratio: of the same engine variant, else of the first one."""
        values = {other.variant: other.value for other in self.ratios if other.name == ratio.name}
        return values.get(ratio.variant, next(iter(values.values()), None))


def ratios(results: Results) -> list[Ratio]:
    """Every goal whose figures were measured: the median over the repeats of the ratio within a repeat."""
    found = []
    for variant in results.variants:
        for goal in GOALS:
            values = goal.figure.by_repeat(results, variant)
            if goal.per:
                divisors = goal.per.by_repeat(results, variant)
                values = {repeat: value / divisors[repeat] for repeat, value in values.items() if divisors.get(repeat)}
            if values:
                value = statistics.median(values.values())
                found.append(Ratio(name=goal.name, variant=variant, value=value, goal=goal.value, bound=goal.bound))
    return found


def record(results: Results) -> Recorded:
    """What docs/performance.json keeps of these results."""
    speeds = [
        Speed(variant=variant, images_per_second=speed, cpu_ms=results.group(variant, LOAD, "cpu_ms"))
        for variant in results.variants
        if (speed := results.median(variant, LOAD, SPEED)) is not None
    ]
    return Recorded(
        started=results.started,
        cpu=results.cpu,
        cores=results.cores,
        plan=results.plan,
        ratios=ratios(results),
        speeds=speeds,
    )
