"""Draws the results: throughput and latency over the number of callers, and where the time of an image goes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from tools.measure.bench.plan import CALLERS
from tools.measure.bench.ratios import median_of
from tools.measure.bench.results import BASELINE, Results

mpl.use("Agg")  # files only; no display is needed
mpl.rcParams["svg.hashsalt"] = "birds"  # the same figures make the same file


def draw(results: Results, folder: Path) -> list[Path]:
    """Write throughput, latency and stages as SVG and PNG files; returns the SVG files."""
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Sequence[Callable[[Results, Axes], None]]] = {
        "throughput": [_throughput],
        "latency": [_latency],
        "stages": [_cpu, _waiting],
    }
    written = []
    for name, plots in figures.items():
        size = (8, 4.5 * len(plots))
        figure, grid = plt.subplots(len(plots), figsize=size, layout="constrained", squeeze=False)
        for plot, axes in zip(plots, grid.flat, strict=True):
            plot(results, axes)
            axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
        written.append(folder / f"{name}.svg")
        figure.savefig(written[-1], metadata={"Date": None})
        figure.savefig(folder / f"{name}.png", dpi=110)
        plt.close(figure)
    return written


def _throughput(results: Results, axes: Axes) -> None:
    for target, levels in _levels(results):
        medians = [median_of(results, target, level, lambda p: p.images_per_second) or 0 for level in levels]
        axes.plot(levels, medians, marker="o", label=target)
    for form in results.forms:
        batches: dict[int, list[float]] = {}
        for point in results.limits:
            if point.form == form:
                batches.setdefault(point.batch, []).append(point.images_per_second)
        if batches:
            limit = max(statistics.median(speeds) for speeds in batches.values())
            axes.axhline(limit, linestyle=":", linewidth=1, color="grey")
            axes.annotate(f"limit, {form}", (1, limit), fontsize="x-small", va="top")
    axes.set(title="Images a second", ylim=(0, None))
    _by_callers(axes, results)


def _latency(results: Results, axes: Axes) -> None:
    for target, levels in _levels(results):
        p50 = [median_of(results, target, level, lambda p: p.p50_ms) or 0 for level in levels]
        p99 = [median_of(results, target, level, lambda p: p.p99_ms) or 0 for level in levels]
        (line,) = axes.plot(levels, p50, marker="o", label=f"{target}, p50")
        axes.plot(levels, p99, marker=".", linestyle="--", color=line.get_color(), label=f"{target}, p99")
    axes.set(title="Milliseconds for a call of 5 images", yscale="log")
    _by_callers(axes, results)


def _cpu(results: Results, axes: Axes) -> None:
    """CPU time: what there is too little of."""
    targets = [BASELINE, *results.forms]
    points = {t: [p for p in results.loads if (p.target, p.concurrency) == (t, CALLERS)] for t in targets}
    roles = dict.fromkeys(role for target in targets for point in points[target] for role in point.cpu_ms)
    lefts = dict.fromkeys(targets, 0.0)
    for role in roles:
        widths = [statistics.median([p.cpu_ms.get(role, 0.0) for p in points[t]] or [0.0]) for t in targets]
        axes.barh(targets, widths, left=[lefts[target] for target in targets], label=role)
        lefts = {target: lefts[target] + width for target, width in zip(targets, widths, strict=True)}
    axes.set(title=f"Milliseconds of CPU time an image, {CALLERS} callers")
    axes.invert_yaxis()


def _waiting(results: Results, axes: Axes) -> None:
    """Where an image is while it is inside Triton, the first form's."""
    points = [point for point in results.loads if point.target == results.forms[0]]
    levels = sorted({point.concurrency for point in points})
    bottoms = dict.fromkeys(levels, 0.0)
    for stage in dict.fromkeys(stage for point in points for stage in point.stages_ms):
        heights = [
            statistics.median(p.stages_ms.get(stage, 0.0) for p in points if p.concurrency == level) for level in levels
        ]
        axes.bar(list(map(str, levels)), heights, bottom=[bottoms[level] for level in levels], label=stage)
        bottoms = {level: bottoms[level] + height for level, height in zip(levels, heights, strict=True)}
    axes.set(title=f"Milliseconds of an image inside Triton, {results.forms[0]}", xlabel="callers at once")


def _levels(results: Results) -> Sequence[tuple[str, list[int]]]:
    return [
        (target, sorted({point.concurrency for point in results.loads if point.target == target}))
        for target in [BASELINE, *results.forms]
    ]


def _by_callers(axes: Axes, results: Results) -> None:
    levels = sorted({point.concurrency for point in results.loads})
    axes.set_xscale("log", base=2)
    axes.set_xticks(levels, [str(level) for level in levels])
    axes.set_xlabel("callers at once")
