"""The figures of an evaluation as a person reads them, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.cells import cell_len, set_cell_size

from tools.measure.evaluation.figures import Figures, Step

_MAX_CONFUSIONS = 15
_FEW_PHOTOS = 300  # with fewer, the 95% interval of a precision of 90% is wider than 87% to 93%


def text(figures: Figures, version: str | None, common_names: Mapping[str, str | None]) -> Iterator[str]:
    """Yield the lines of the report. `common_names` are those of the model, by scientific name."""
    photos, folders = _counted(figures.photos, "photo"), _counted(figures.folders, "folder")
    yield f"Version {version}: {photos} in {folders}"
    yield f"top-1  {_share(figures.top_1, figures.photos)}"
    yield f"top-3  {_share(figures.top_3, figures.photos)}"
    if figures.confusions:
        yield from ("", "Most frequent mistakes")
        yield from _confusions(figures, common_names)
    yield from ("", "Answers that name a species, by score")
    yield "score   answers   right   precision (95% interval)"
    yield from (_row(step) for step in figures.steps[::2] if step.answers)
    yield ""
    yield from _conclusion(figures)


def as_json(figures: Figures, version: str | None, failures: Mapping[str, str]) -> dict[str, Any]:
    """The figures as an object; `failures` has the code of each photo that failed."""
    steps = [
        {"score": s.score, "answers": s.answers, "right": s.right, "precision": s.precision, "interval": s.interval}
        for s in figures.steps
    ]
    return {
        "model_version": version,
        **asdict(figures),
        "steps": steps,
        "good_from": figures.good_from,
        "failures": dict(failures),
    }


def _confusions(figures: Figures, common_names: Mapping[str, str | None]) -> Iterator[str]:
    rows = [("photos of", "were answered", "photos", "of them sure")]
    for confusion in figures.confusions[:_MAX_CONFUSIONS]:
        name = confusion.answered
        label = f"{common_names[name]} ({name})" if common_names.get(name) else name
        rows.append((confusion.folder, label, str(confusion.photos), str(confusion.sure)))
    widths = [max(cell_len(row[column]) for row in rows) for column in range(2)]
    for folder, answered, photos, sure in rows:
        yield f"{set_cell_size(folder, widths[0])}  {set_cell_size(answered, widths[1])}  {photos:>6}  {sure:>12}"
    if len(figures.confusions) > _MAX_CONFUSIONS:
        yield f"and {len(figures.confusions) - _MAX_CONFUSIONS} more"


def _row(step: Step) -> str:
    low, high = step.interval
    precision = f"{step.precision or 0:4.0%} ({low:.0%} to {high:.0%})"
    return f"≥ {step.score:.2f}  {step.answers:7}  {step.right:6}   {precision}"


def _conclusion(figures: Figures) -> Iterator[str]:
    below = figures.not_sure_below
    yield f"Not sure, with a score below {below:g} (BIRDS_NOT_SURE_BELOW): {_right(figures.doubted)}"
    yield f"Sure: {_right(figures.trusted)}"
    if figures.good_from is None:
        yield "At no score are nine answers in ten right."
    else:
        yield f"Of the answers with a score of {figures.good_from:.2f} or more, at least nine in ten are right."
    if figures.photos < _FEW_PHOTOS:
        yield f"Fewer than {_FEW_PHOTOS} photos say little, as the intervals show."


def _right(step: Step) -> str:
    return f"{step.right} of {_counted(step.answers, 'answer')} right"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _share(count: int, photos: int) -> str:
    return f"{count / photos:6.1%}  ({count} of {photos})"
