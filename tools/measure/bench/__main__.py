"""Measures this service beside the design it replaced and the limit of the machine, all in one run.

python -m tools.measure.bench --quick                              does everything once, briefly: a look, no measurement
python -m tools.measure.bench --json results.json                  the full run; keep the machine free of other work
python -m tools.measure.bench --forms openvino,tensorflow          several forms of the classifier beside each other
python -m tools.measure.bench report results.json                  puts tables, plots and ratios into docs/performance.*

The baseline is a FastAPI server with TensorFlow inside, four workers. The service runs as `tools.serve`
runs it, once for each form. The limit is decoding and inference in a bare process a core, no server at all. All
classify photos that a server on the loopback hands out: those in the folders of BIRDS_TEST_PHOTOS, else generated
ones. Agreement with LiteRT is measured where such a folder has a reference.tsv. Measurements alternate between the
servers, and figures are medians over the repeats.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from tools import ROOT
from tools.measure.bench.form import Form, UnknownVariant, parse_form
from tools.measure.bench.plan import QUICK, Plan
from tools.measure.bench.report import last_recorded, write_report
from tools.measure.bench.results import Results
from tools.measure.bench.tables import render
from tools.measure.perf.binary import PerfAnalyzer, PerfAnalyzerMissing, find_perf_analyzer
from tools.measure.photos import photo_folders
from tools.models.repository import savedmodel_path

_BUSY_PERCENT = 10  # with more than this going on, figures are not worth writing down
_DEFAULT_JSON = ROOT / ".cache" / "bench" / "results.json"


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["report"]:
        return _report(arguments[1:])
    options = _parse(arguments)
    try:
        forms = [parse_form(name) for name in options.forms.split(",")]
        program = find_perf_analyzer()
    except (UnknownVariant, PerfAnalyzerMissing) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if not savedmodel_path().is_dir():
        print("bench: there is no classifier yet; to build it: birds models build", file=sys.stderr)
        return 1
    command = shlex.join(["python", "-m", "tools.measure.bench", *arguments])
    return _run(options.plan, forms, program, command, options.json)


def _run(plan: Plan, forms: list[Form], program: PerfAnalyzer, command: str, path: Path) -> int:
    from tools.measure.bench.json_worker import WorkerEnded
    from tools.measure.bench.machine import busy_percent, this_machine, versions
    from tools.measure.bench.run import Run
    from tools.measure.bench.targets import TargetFailed
    from tools.measure.perf.analyzer import PerfAnalyzerFailed

    if (busy := busy_percent(1)) > _BUSY_PERCENT:
        print(f"bench: WARNING: the machine is {busy:.0f} % busy with other things", file=sys.stderr)
    results = Results(
        started=time.strftime("%Y-%m-%d %H:%M"),
        command=command,
        machine=this_machine(),
        versions={**versions(), "perf_analyzer": program.version().removeprefix("Perf Analyzer Version ")},
        photos="real photos" if photo_folders() else "generated photos",
        forms=[form.name for form in forms],
    )
    print(f"This takes about {plan.minutes(len(forms)):.0f} minutes.", flush=True)
    started = time.monotonic()
    try:
        Run(plan, forms, program, results).measure()
    except (TargetFailed, PerfAnalyzerFailed, WorkerEnded) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    finally:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")
    print(f"\n{render(results, last_recorded())}")
    print(f"That took {(time.monotonic() - started) / 60:.1f} minutes. Wrote {path}")
    print(f"To document it: python -m tools.measure.bench report {os.path.relpath(path)}")
    return 0


def _report(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.measure.bench report",
        description="Puts the tables, plots and ratios of a run into docs/performance.md, .json and docs/performance/.",
    )
    parser.add_argument("results", type=Path, help="what --json wrote")
    options = parser.parse_args(arguments)
    try:
        results = Results.model_validate_json(options.results.read_text(encoding="utf-8"))
        for path in write_report(results):
            print(f"Wrote {os.path.relpath(path)}")
    except ValidationError as error:
        print(f"bench: {options.results} is no result of the benchmark: {error.errors()[0]['msg']}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.measure.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    full = Plan()
    parser.add_argument("--quick", action="store_true", help="one short repeat: whether everything works, not how fast")
    parser.add_argument(
        "--forms",
        default="configured",
        metavar="FORM,…",
        help="engine or engine/precision of the classifier, as its config.pbtxt has parameters for (openvino, "
        "tensorflow, …); the first one is measured in every respect (default: as config.pbtxt is)",
    )
    parser.add_argument("--repeats", type=int, metavar="N", help=f"rounds (default: {full.repeats})")
    parser.add_argument("--seconds", type=float, metavar="S", help=f"a measurement (default: {full.seconds:g})")
    parser.add_argument(
        "--concurrency", metavar="N,…", help=f"callers at once (default: {','.join(map(str, full.concurrency))})"
    )
    parser.add_argument("--json", type=Path, default=_DEFAULT_JSON, metavar="FILE", help="default: %(default)s")
    options = parser.parse_args(arguments)
    options.plan = _plan(parser, options)
    return options


def _plan(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Plan:
    plan = QUICK if options.quick else Plan()
    if options.repeats is not None:
        plan = dataclasses.replace(plan, repeats=options.repeats)
    if options.seconds is not None:
        plan = dataclasses.replace(plan, seconds=options.seconds)
    if options.concurrency is not None:
        levels = options.concurrency.split(",")
        if not all(level.isdigit() and int(level) > 0 for level in levels):
            parser.error("--concurrency: whole numbers above 0, with commas between")
        plan = dataclasses.replace(plan, concurrency=tuple(int(level) for level in levels))
    if plan.repeats < 1 or plan.seconds <= 0:
        parser.error("--repeats and --seconds must be above 0")
    return plan


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # everything is stopped and kept, as for Ctrl-C
    sys.exit(main())
