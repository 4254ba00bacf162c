"""The figures that can be compared between runs and machines, and the goals they are held to."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Literal

from pydantic import BaseModel

from tools.measure.bench.plan import CALLERS
from tools.measure.bench.results import BASELINE, Results

_ENOUGH_IMAGES = 1000  # fewer say nothing about growth


class Ratio(BaseModel):
    """One figure of one form. `goal` is the least it shall be, or the most, as `bound` says."""

    name: str
    form: str
    value: float
    goal: float
    bound: Literal["least", "most"]

    @property
    def met(self) -> bool:
        return self.value >= self.goal if self.bound == "least" else self.value <= self.goal


class Speed(BaseModel):
    """What one form did at 16 callers, and the CPU milliseconds an image took, by process: medians of the repeats."""

    form: str
    images_per_second: float
    cpu_ms: dict[str, float]


class Recorded(BaseModel):
    """What docs/performance.json keeps of a run; tools.capacity plans with it."""

    started: str
    cpu: str
    cores: int
    ratios: list[Ratio]
    speeds: list[Speed] = []


def speeds(results: Results) -> list[Speed]:
    """The throughput and CPU times of every form."""
    found = []
    for form in results.forms:
        points = [point for point in results.loads if (point.target, point.concurrency) == (form, CALLERS)]
        if points:
            roles = points[0].cpu_ms
            cpu_ms = {role: statistics.median(point.cpu_ms.get(role, 0) for point in points) for role in roles}
            speed = statistics.median(point.images_per_second for point in points)
            found.append(Speed(form=form, images_per_second=speed, cpu_ms=cpu_ms))
    return found


def ratios(results: Results) -> list[Ratio]:
    """Every ratio whose parts were measured: the median over the repeats of the ratios within a repeat."""
    return [ratio for form in results.forms for ratio in _of_form(results, form)]


def _of_form(results: Results, form: str) -> Iterator[Ratio]:
    at_goal = [point for point in results.loads if point.concurrency == CALLERS]
    ours = {point.repeat: point.images_per_second for point in at_goal if point.target == form}
    theirs = {point.repeat: point.images_per_second for point in at_goal if point.target == BASELINE}
    direct = _best({(p.repeat, p.concurrency): p.images_per_second for p in results.direct if p.form == form})
    limit = _best({(p.repeat, p.batch): p.images_per_second for p in results.limits if p.form == form})
    single = {p.repeat: statistics.median(p.latencies_ms) for p in results.single if p.target == form}
    their_single = {p.repeat: statistics.median(p.latencies_ms) for p in results.single if p.target == BASELINE}
    p50 = {point.repeat: point.p50_ms for point in at_goal if point.target == form}
    p99 = {point.repeat: point.p99_ms for point in at_goal if point.target == form}
    one_call = {p.repeat: p.one_call for p in results.long_lists if p.target == form}
    short_calls = {p.repeat: p.short_calls for p in results.long_lists if p.target == form}
    fresh = {p.repeat: p.fresh for p in results.repetition if p.target == form}
    repeated = {p.repeat: p.repeated for p in results.repetition if p.target == form}
    quotients: list[tuple[str, dict[int, float], dict[int, float], float, Literal["least", "most"]]] = [
        (f"images/s at {CALLERS} callers / baseline's", ours, theirs, 2.0, "least"),
        (f"images/s at {CALLERS} callers / limit", ours, limit, 0.85, "least"),
        ("images/s direct / limit", direct, limit, 0.92, "least"),
        ("single call of 5 / baseline's", single, their_single, 0.6, "most"),
        (f"p99 / p50 at {CALLERS} callers", p99, p50, 2.5, "most"),
        ("images/s of one long call / of short calls", one_call, short_calls, 0.95, "least"),
        ("images/s of repeated images / of new ones", repeated, fresh, 1.5, "least"),
    ]
    for name, above, below, goal, bound in quotients:
        if shared := [above[repeat] / below[repeat] for repeat in above if below.get(repeat)]:
            yield Ratio(name=name, form=form, value=statistics.median(shared), goal=goal, bound=bound)
    for found in (accuracy for accuracy in results.accuracy if accuracy.form == form):
        agreeing, difference = found.agreeing / found.photos, found.mean_score_difference
        yield Ratio(name="photos that agree with LiteRT", form=form, value=agreeing, goal=0.94, bound="least")
        if found.confident:
            confident = found.confident_agreeing / found.confident
            yield Ratio(name="of those over 0.4", form=form, value=confident, goal=1, bound="least")
        yield Ratio(name="mean difference of the score", form=form, value=difference, goal=0.035, bound="most")
    for cost in (cost for cost in results.costs if cost.target == form):
        yield Ratio(name="first answer, s", form=form, value=cost.first_answer_seconds, goal=8, bound="most")
        yield Ratio(name="idle CPU, % of a core", form=form, value=cost.idle_cpu_percent, goal=2, bound="most")
        yield Ratio(name="memory, MB", form=form, value=cost.memory_mb, goal=1500, bound="most")
        if cost.growth_images >= _ENOUGH_IMAGES:
            per_10000 = 10_000 * cost.growth_mb / cost.growth_images
            yield Ratio(name="growth in 10,000 images, MB", form=form, value=per_10000, goal=20, bound="most")


def _best(measured: dict[tuple[int, int], float]) -> dict[int, float]:
    """The highest of each repeat: what was possible, over concurrency or batch size."""
    repeats = {repeat for repeat, _ in measured}
    return {repeat: max(value for (r, _), value in measured.items() if r == repeat) for repeat in repeats}


def median_of(results: Results, target: str, concurrency: int, value: Callable[..., float]) -> float | None:
    """Median over the repeats of `value(point)`; None where nothing was measured."""
    found = [value(p) for p in results.loads if p.target == target and p.concurrency == concurrency]
    return statistics.median(found) if found else None
