"""What `birds bench` does: checks that everything is there, runs the plan, prints and keeps the results."""

from __future__ import annotations

import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import psutil

from tools import ROOT
from tools.errors import ToolError, UsageError
from tools.measure.bench import machine
from tools.measure.bench.engine_variant import parse_variant
from tools.measure.bench.plan import Plan
from tools.measure.bench.report import last_recorded
from tools.measure.bench.results import Results
from tools.measure.bench.run import Run
from tools.measure.bench.tables import summary
from tools.measure.perf.binary import find_perf_analyzer
from tools.measure.photos import photo_folders
from tools.models.repository import savedmodel_path

_BUSY_PERCENT = 10  # if other work keeps the cores busier than this, the figures are not worth recording
RESULTS = ROOT / ".cache" / "bench" / "results.json"


def bench(plan: Plan, names: list[str], path: Path = RESULTS) -> None:
    """Measure the baseline and the service with each engine variant; write the results to `path`. Raises ToolError."""
    if not names:
        raise UsageError("--variants: name at least one engine variant")
    variants = [parse_variant(name) for name in names]
    if not savedmodel_path().is_dir():
        raise ToolError("there is no classifier yet; to build it: birds models build")
    program = find_perf_analyzer()
    if (busy := psutil.cpu_percent(1)) > _BUSY_PERCENT:
        print(f"Warning: the machine is {busy:.0f}% busy with other work.", flush=True)
    results = Results(
        started=time.strftime("%Y-%m-%d %H:%M"),
        command=" ".join(["birds", *sys.argv[1:]]),
        cpu=machine.cpu(),
        cores=machine.cores(),
        system=machine.system(),
        versions=machine.versions() | {"perf_analyzer": program.version().removeprefix("Perf Analyzer Version ")},
        photos="real photos" if photo_folders() else "generated photos",
        plan=plan,
        variants=names,
    )
    print(f"This takes about {plan.minutes(len(variants)):.0f} minutes.", flush=True)
    started = time.monotonic()
    try:
        Run(plan, variants, program, results).measure()
    except BrokenProcessPool as error:
        raise ToolError("a measuring process was killed, perhaps because memory ran out") from error
    finally:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")
    minutes = (time.monotonic() - started) / 60
    print(f"\n{summary(results, last_recorded())}\n\nThat took {minutes:.1f} minutes. Results: {path}")
