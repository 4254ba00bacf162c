"""Writes the tables and the plot of a run into docs/performance.md, and its ratios into docs/performance.json."""

from __future__ import annotations

import statistics
from pathlib import Path

from pydantic import ValidationError

from tools import ROOT
from tools.errors import UsageError
from tools.measure.bench.goals import LIMIT, Recorded, record
from tools.measure.bench.results import SPEED, Results
from tools.measure.bench.tables import render
from tools.measure.markdown import replace_generated_part

DOCS = ROOT / "docs"
_PLOT = Path("performance", "throughput.svg")


def last_recorded(docs: Path = DOCS) -> Recorded | None:
    """The run that the documents show, or None."""
    path = docs / "performance.json"
    return Recorded.model_validate_json(path.read_text(encoding="utf-8")) if path.is_file() else None


def read_results(path: Path) -> Results:
    """Raises UsageError for a file that `birds bench` did not write."""
    try:
        return Results.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise UsageError(f"{path} is not a result of birds bench: {error.errors()[0]['msg']}") from error


def write_report(results: Results, docs: Path = DOCS) -> list[Path]:
    """Replace the generated part of performance.md, the plot and the recorded ratios; the rest of the page stays.

    Raises ToolError if the page has lost the marks of its generated part.
    """
    page, recorded = docs / "performance.md", docs / "performance.json"
    replace_generated_part(page, f"{render(results, last_recorded(docs))}\n![throughput]({_PLOT})\n")
    recorded.write_text(record(results).model_dump_json(indent=2) + "\n", encoding="utf-8")
    _draw(results, docs / _PLOT)
    return [page, recorded, docs / _PLOT]


def _draw(results: Results, path: Path) -> None:
    """Draw images per second over the number of callers, as SVG."""
    import matplotlib as mpl
    from matplotlib import pyplot

    mpl.use("Agg")  # files only; no display is needed
    mpl.rcParams["svg.hashsalt"] = "birds"  # so that equal figures give equal files
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    levels = results.levels
    for target in results.targets:
        speeds = [results.median(target, load, SPEED) or 0 for load in levels.values()]
        axes.plot(list(levels), speeds, label=target, marker="o")
    for variant in results.variants:
        if limits := LIMIT.by_repeat(results, variant):
            limit = statistics.median(limits.values())
            axes.axhline(limit, linestyle=":", linewidth=1, color="grey")
            axes.annotate(f"limit, {variant}", (1, limit), fontsize="x-small", va="top")
    axes.set(title="Images per second", ylim=(0, None), xlabel="concurrent callers")
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(levels), [str(level) for level in levels])
    axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
