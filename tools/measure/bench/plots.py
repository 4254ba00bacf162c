"""Draws throughput and latency over the number of callers, and the CPU time of an image."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from tools.measure.bench.goals import LOAD
from tools.measure.bench.results import SPEED, Results

mpl.use("Agg")  # files only; no display is needed
mpl.rcParams["svg.hashsalt"] = "birds"  # so that equal figures give equal files


def draw(results: Results, folder: Path) -> list[Path]:
    """Write throughput, latency and stages as SVG and PNG files; returns the SVG files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, plot in {"throughput": _throughput, "latency": _latency, "stages": _cpu}.items():
        figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
        plot(results, axes)
        axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
        written.append(folder / f"{name}.svg")
        figure.savefig(written[-1], metadata={"Date": None})
        figure.savefig(folder / f"{name}.png", dpi=110)
        plt.close(figure)
    return written


def _throughput(results: Results, axes: Axes) -> None:
    for target in results.targets:
        _line(results, axes, target, SPEED, label=target, marker="o")
    for variant in results.variants:
        if limits := [results.median(variant, load, SPEED) or 0 for load in results.loads("limit")]:
            axes.axhline(max(limits), linestyle=":", linewidth=1, color="grey")
            axes.annotate(f"limit, {variant}", (1, max(limits)), fontsize="x-small", va="top")
    axes.set(title="Images per second", ylim=(0, None))


def _latency(results: Results, axes: Axes) -> None:
    for target in results.targets:
        _line(results, axes, target, "p50_ms", label=f"{target}, p50", marker="o")
        _line(results, axes, target, "p99_ms", label=f"{target}, p99", marker=".", linestyle="--")
    axes.set(title="Milliseconds for a call of 5 images", yscale="log")


def _line(results: Results, axes: Axes, target: str, name: str, **style: str) -> None:
    points = {level: results.median(target, load, name) for level, load in results.levels.items()}
    measured = {level: value for level, value in points.items() if value is not None}
    axes.plot(list(measured), list(measured.values()), label=style.pop("label"), **style)  # type: ignore[arg-type]
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(points), [str(level) for level in points])
    axes.set_xlabel("concurrent callers")


def _cpu(results: Results, axes: Axes) -> None:
    """CPU time, which limits the throughput."""
    by_target = {target: results.group(target, LOAD, "cpu_ms") for target in results.targets}
    lefts = dict.fromkeys(by_target, 0.0)
    for process in dict.fromkeys(name for times in by_target.values() for name in times):
        widths = [times.get(process, 0.0) for times in by_target.values()]
        axes.barh(list(lefts), widths, left=list(lefts.values()), label=process)
        lefts = {target: left + width for (target, left), width in zip(lefts.items(), widths, strict=True)}
    axes.set(title=f"Milliseconds of CPU time per image, {LOAD}")
    axes.invert_yaxis()
