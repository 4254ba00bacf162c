"""Puts the tables and plots of a run into docs/performance.md, and its ratios into docs/performance.json."""

from __future__ import annotations

from pathlib import Path

from tools import ROOT
from tools.measure.bench.ratios import Recorded, ratios, speeds
from tools.measure.bench.results import Results
from tools.measure.bench.tables import render

DOCS = ROOT / "docs"
_BEGIN, _END = "<!-- from here on written by python -m tools.measure.bench report -->", "<!-- to here -->"
_NEW_PAGE = f"# Performance\n\n{_BEGIN}\n{_END}\n"


def last_recorded(docs: Path = DOCS) -> Recorded | None:
    """The ratios of the run that is documented."""
    path = docs / "performance.json"
    return Recorded.model_validate_json(path.read_text(encoding="utf-8")) if path.is_file() else None


def write_report(results: Results, docs: Path = DOCS) -> list[Path]:
    """Replace the generated part of performance.md, the plots and the recorded ratios; the rest of the page stays.

    Raises ValueError when the page's marks are gone.
    """
    from tools.measure.bench.plots import draw

    page = docs / "performance.md"
    text = page.read_text(encoding="utf-8") if page.is_file() else _NEW_PAGE
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{page} lacks the lines {_BEGIN} and {_END}, between which the tables go")
    plots = draw(results, docs / "performance")
    images = "\n".join(f"![{plot.stem}](performance/{plot.name})" for plot in plots)
    page.write_text(f"{before}{begin}\n\n{render(results)}\n{images}\n\n{end}{after}", encoding="utf-8")
    recorded = Recorded(
        started=results.started,
        cpu=results.machine.cpu,
        cores=results.machine.cores,
        ratios=ratios(results),
        speeds=speeds(results),
    )
    (docs / "performance.json").write_text(recorded.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return [page, docs / "performance.json", *plots]
