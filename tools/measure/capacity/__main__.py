"""How many pods, cores and dollars a rate of images takes, from what the benchmark measured on this code.

python -m tools.measure.capacity                            the tables for 1, 10, 1,000 and 100,000 images a second
python -m tools.measure.capacity --rate 1000 --form openvino/f32
python -m tools.measure.capacity --core-hour 0.02 --image-kilobytes 2000     with other assumptions
python -m tools.measure.capacity --validate                 measure 1 and 2 Tritons here and hold the model against it
python -m tools.measure.capacity --write                    put the tables into docs/scaling.md

The CPU times of an image are those of docs/performance.json (make bench writes it); all else is an assumption, and an
option. Figures of GPU nodes are assumptions altogether.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from tools import ROOT
from tools.measure.bench.form import UnknownVariant
from tools.measure.bench.report import last_recorded
from tools.measure.capacity import tables
from tools.measure.capacity.costs import Costs, NotRecorded, read_costs
from tools.measure.capacity.plan import Assumptions
from tools.measure.capacity.validation import CannotValidate, Validation, validate
from tools.models.repository import savedmodel_path
from tools.serve.triton_layout import TritonError

PAGE, VALIDATED = ROOT / "docs" / "scaling.md", ROOT / "docs" / "scaling.json"
RATES = (1.0, 10.0, 1000.0, 100_000.0)
_BEGIN, _END = "<!-- from here on written by python -m tools.measure.capacity --write -->", "<!-- to here -->"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    assumptions = Assumptions(**{field.name: getattr(options, field.name) for field in fields(Assumptions)})
    try:
        every, costs = _costs(options.form)
        if options.validate:
            _validate(costs.form, options)
        text = report(every, costs, options.rate or RATES, assumptions)
        if options.write:
            _write(text)
    except (NotRecorded, CannotValidate, TritonError, UnknownVariant, ValueError) as error:
        print(f"capacity: {error}", file=sys.stderr)
        return 1
    print(text, end="")
    return 0


def report(every: Sequence[Costs], costs: Costs, rates: Sequence[float], assumptions: Assumptions) -> str:
    """All tables; the plans are for the form of `costs`."""
    recorded = last_recorded()
    assert recorded is not None
    parts = [
        f"### What an image costs\n\nRecorded {recorded.started} on {recorded.cores} cores of {recorded.cpu}.\n",
        tables.steps(every, assumptions),
        f"### What a rate takes: {costs.form}\n",
        tables.plans(rates, costs, assumptions),
        tables.assumed(assumptions) + "\n",
    ]
    if VALIDATED.is_file():
        found = Validation.model_validate_json(VALIDATED.read_text(encoding="utf-8"))
        parts += ["### Held against measurements\n", tables.validated(found)]
    return "\n".join(parts)


def _costs(form: str | None) -> tuple[list[Costs], Costs]:
    """Those of every form, and those to plan with: of `form`, else of the form that does the most."""
    recorded = last_recorded()
    if recorded is None or not recorded.speeds:
        raise NotRecorded("docs/performance.json has no CPU times: run make bench, then tools.measure.bench report")
    every = [read_costs(recorded, speed.form) for speed in recorded.speeds]
    chosen = read_costs(recorded, form) if form else min(every, key=lambda costs: costs.triton_ms)
    return every, chosen


def _validate(form: str, options: argparse.Namespace) -> None:
    if not savedmodel_path().is_dir():
        raise CannotValidate("there is no classifier yet; to build it: birds models build")
    found = validate(form, options.seconds, options.repeats)
    VALIDATED.write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _write(text: str, page: Path = PAGE) -> None:
    """Replace the generated part of the page; the rest stays. Raises ValueError when its marks are gone."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{page} lacks the lines {_BEGIN} and {_END}, between which the tables go")
    page.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.measure.capacity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rate", type=_positive, action="append", help="images a second; may be given several times")
    parser.add_argument("--form", help="engine, or engine/precision; the one that does the most unless given")
    parser.add_argument("--validate", action="store_true", help="measure 1 and 2 Tritons on this machine, 2 minutes")
    parser.add_argument("--seconds", type=_positive, default=8.0, help="of each measurement (default: %(default)g)")
    parser.add_argument("--repeats", type=int, choices=range(1, 10), default=2, metavar="N", help="(default: 2)")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/scaling.md as well")
    assumed = parser.add_argument_group("assumptions", "prices in dollars; tools/capacity/plan.py says where from")
    for field in fields(Assumptions):
        kind = _positive_whole if isinstance(field.default, int) else _not_negative
        assumed.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default, metavar="N")
    return parser.parse_args(arguments)


def _positive(text: str) -> float:
    number = _not_negative(text)
    if number == 0:
        raise argparse.ArgumentTypeError("it has to be more than 0")
    return number


def _not_negative(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number of 0 or more")
    return number


def _positive_whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
