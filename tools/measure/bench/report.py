"""Writes the tables and plots of a run into docs/performance.md, and its ratios into docs/performance.json."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from tools import ROOT
from tools.errors import UsageError
from tools.measure.bench.goals import Recorded, record
from tools.measure.bench.results import Results
from tools.measure.bench.tables import render
from tools.measure.pages import replace_generated_part

DOCS = ROOT / "docs"


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
    """Replace the generated part of performance.md, the plots and the recorded ratios; the rest of the page stays.

    Raises ToolError if the page has lost the marks of its generated part.
    """
    from tools.measure.bench.plots import draw

    page, recorded = docs / "performance.md", docs / "performance.json"
    replace_generated_part(
        page,
        render(results, last_recorded(docs)) + "\n![throughput](performance/throughput.svg)\n"
        "![latency](performance/latency.svg)\n![stages](performance/stages.svg)\n",
    )
    recorded.write_text(record(results).model_dump_json(indent=2) + "\n", encoding="utf-8")
    return [page, recorded, *draw(results, docs / "performance")]
