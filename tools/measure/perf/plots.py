"""Draws a sweep: throughput, latency, and where the time went, one figure for each model and kind of load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from tools.measure.perf.sweep import PARTS, Row

mpl.use("Agg")  # files only; no display is needed
_UNITS = {"concurrency": "concurrent requests", "request_rate": "requests per second"}


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write an SVG and a PNG file for each model and kind of load; returns their paths."""
    written = []
    for model, kind in dict.fromkeys((str(row["model"]), str(row["load"])) for row in rows):
        chosen = [row for row in rows if (row["model"], row["load"]) == (model, kind)]
        figure, (throughput, latency, times) = plt.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
        figure.suptitle(f"{model}, by {kind.replace('_', ' ')}")
        for name, line in _lines(chosen):
            levels = [row["level"] for row in line]
            throughput.plot(levels, [row["images_per_second"] for row in line], marker="o", label=name)
            (drawn,) = latency.plot(levels, [row["p50_ms"] for row in line], marker="o", label=f"{name}, p50")
            p99 = [row["p99_ms"] for row in line]
            latency.plot(levels, p99, linestyle="--", color=drawn.get_color(), label=f"{name}, p99")
        for axes, title in ((throughput, "images per second"), (latency, "latency, ms")):
            axes.set(title=title, xlabel=_UNITS[kind], ylim=(0, None))
            axes.legend(fontsize="small")
        _stack(times, chosen)
        for suffix in ("svg", "png"):
            written.append(folder / f"{model}-{kind}.{suffix}")
            figure.savefig(written[-1])
        plt.close(figure)
    return written


def _lines(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Yield the name and the rows of each combination of protocol and memory, one row for each level."""
    for protocol, memory in dict.fromkeys((row["protocol"], row["shared_memory"]) for row in rows):
        line = {row["level"]: row for row in rows if (row["protocol"], row["shared_memory"]) == (protocol, memory)}
        yield f"{protocol}{', shared memory' if memory != 'none' else ''}", list(line.values())


def _stack(axes: Axes, rows: Sequence[Row]) -> None:
    """Bars of the mean time in each step's queue and computation, for the first combination; batch sizes on top."""
    first = [row for row in rows if all(row[key] == rows[0][key] for key in ("protocol", "shared_memory"))]
    levels = list(dict.fromkeys(str(row["level"]) for row in first))
    tops = dict.fromkeys(levels, 0.0)
    notes: dict[str, list[str]] = {level: [] for level in levels}
    for step in dict.fromkeys(str(row["step"]) for row in first):
        by_level = {str(row["level"]): row for row in first if row["step"] == step}
        for part in PARTS:
            heights = [float(by_level[level][f"{part}_ms"]) if level in by_level else 0.0 for level in levels]
            axes.bar(levels, heights, bottom=[tops[level] for level in levels], label=f"{step} {part}")
            tops = {level: tops[level] + height for level, height in zip(levels, heights, strict=True)}
        for level in by_level:  # a step that the cache made unnecessary has no row
            notes[level].append(f"{float(by_level[level]['batch_size']):.1f}")
    for level in levels:
        axes.annotate("/".join(notes[level]), (level, tops[level]), ha="center", va="bottom", fontsize="small")
    axes.set(title="mean ms per request, mean batch on top", xlabel=_UNITS[str(rows[0]["load"])])
    axes.legend(fontsize="x-small")
