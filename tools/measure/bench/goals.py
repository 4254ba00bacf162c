"""The figures that can be compared between runs and machines, and the goals for them: one table."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from tools.measure.bench.plan import CALLERS
from tools.measure.bench.results import BASELINE, SPEED, Results

LOAD = f"{CALLERS} callers"


@dataclass(frozen=True)
class Source:
    """A figure of the variant, or of `target`. If several loads begin with `load`, the highest value counts."""

    load: str
    name: str = SPEED
    target: str = ""

    def by_repeat(self, results: Results, variant: str) -> dict[int, float]:
        best: dict[int, float] = {}
        for load in results.loads(self.load):
            if load == self.load or load.startswith(f"{self.load}, "):
                for repeat, value in results.by_repeat(self.target or variant, load, self.name).items():
                    best[repeat] = max(value, best.get(repeat, value))
        return best


@dataclass(frozen=True)
class Goal:
    """`figure`, divided by `per` if that is given, should be at least (or at most) `value`."""

    name: str
    bound: Literal["least", "most"]
    value: float
    figure: Source
    per: Source | None = None


GOALS = (
    Goal(f"images/s at {LOAD} / baseline's", "least", 2.0, Source(LOAD), per=Source(LOAD, target=BASELINE)),
    Goal(f"images/s at {LOAD} / limit", "least", 0.85, Source(LOAD), per=Source("limit")),
    Goal("images/s direct / limit", "least", 0.92, Source("direct"), per=Source("limit")),
    Goal(
        "single call of 5 / baseline's",
        "most",
        0.6,
        Source("single calls", "p50_ms"),
        per=Source("single calls", "p50_ms", BASELINE),
    ),
    Goal(f"p99 / p50 at {LOAD}", "most", 2.5, Source(LOAD, "p99_ms"), per=Source(LOAD, "p50_ms")),
    Goal("images/s of one long call / of short calls", "least", 0.95, Source("one long call"), per=Source(LOAD)),
    Goal("images/s of repeated images / of new ones", "least", 1.5, Source("repeated images"), per=Source(LOAD)),
    Goal("photos that agree with LiteRT", "least", 0.94, Source("LiteRT", "agreeing")),
    Goal("mean difference of the score", "most", 0.035, Source("LiteRT", "score_difference")),
    Goal("first answer, s", "most", 8, Source("costs", "first_answer_seconds")),
    Goal("idle CPU, % of a core", "most", 2, Source("costs", "idle_cpu_percent")),
    Goal("memory, MB", "most", 1500, Source("costs", "memory_mb")),
)


class Ratio(BaseModel):
    """One figure of one engine variant, beside its goal."""

    name: str
    variant: str
    value: float
    goal: float
    bound: Literal["least", "most"]

    @property
    def met(self) -> bool:
        return self.value >= self.goal if self.bound == "least" else self.value <= self.goal


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
    ratios: list[Ratio]
    speeds: list[Speed] = []


def ratios(results: Results) -> list[Ratio]:
    """Every goal whose figures were measured: the median over the repeats of the ratio within a repeat."""
    return [ratio for variant in results.variants for ratio in _of(results, variant)]


def _of(results: Results, variant: str) -> Iterator[Ratio]:
    for goal in GOALS:
        values = goal.figure.by_repeat(results, variant)
        if goal.per:
            divisors = goal.per.by_repeat(results, variant)
            values = {repeat: value / divisors[repeat] for repeat, value in values.items() if divisors.get(repeat)}
        if values:
            value = statistics.median(values.values())
            yield Ratio(name=goal.name, variant=variant, value=value, goal=goal.value, bound=goal.bound)


def record(results: Results) -> Recorded:
    """What docs/performance.json keeps of these results."""
    speeds = [
        Speed(variant=variant, images_per_second=speed, cpu_ms=results.group(variant, LOAD, "cpu_ms"))
        for variant in results.variants
        if (speed := results.median(variant, LOAD, SPEED)) is not None
    ]
    machine = results.machine
    return Recorded(
        started=results.started, cpu=machine.cpu, cores=machine.cores, ratios=ratios(results), speeds=speeds
    )
