"""What `birds bench` does: checks that everything is there, runs the plan, prints and keeps the results."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tools import ROOT
from tools.errors import ToolError
from tools.measure.bench.engine_variant import EngineVariant, parse_variant
from tools.measure.bench.plan import QUICK, Plan
from tools.measure.bench.report import last_recorded
from tools.measure.bench.results import Results
from tools.measure.perf.binary import PerfAnalyzer, find_perf_analyzer
from tools.measure.photos import photo_folders
from tools.models.repository import savedmodel_path

_BUSY_PERCENT = 10  # if other work keeps the cores busier than this, the figures are not worth recording
RESULTS = ROOT / ".cache" / "bench" / "results.json"


def bench(plan: Plan, variants: list[str], path: Path = RESULTS) -> None:
    """Measure the baseline and the service with each engine variant; write the results to `path`. Raises ToolError."""
    from tools.measure.bench.machine import busy_percent
    from tools.measure.bench.run import Run
    from tools.measure.bench.tables import summary

    chosen = [parse_variant(name) for name in variants]
    if not savedmodel_path().is_dir():
        raise ToolError("there is no classifier yet; to build it: birds models build")
    program = find_perf_analyzer()
    if (busy := busy_percent(1)) > _BUSY_PERCENT:
        print(f"Warning: the machine is {busy:.0f}% busy with other work.", flush=True)
    results = _empty_results(_command(plan, variants), program, chosen)
    print(f"This takes about {plan.minutes(len(chosen)):.0f} minutes.", flush=True)
    started = time.monotonic()
    try:
        Run(plan, chosen, program, results).measure()
    except BrokenProcessPool as error:
        raise ToolError("a measuring process was killed, perhaps because memory ran out") from error
    finally:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")
    minutes = (time.monotonic() - started) / 60
    print(f"\n{summary(results, last_recorded())}\n\nThat took {minutes:.1f} minutes. Results: {path}")


def _empty_results(command: str, program: PerfAnalyzer, variants: Sequence[EngineVariant]) -> Results:
    """Results without figures, for a run that begins now on this machine."""
    from tools.measure.bench.machine import cores, cpu, system, versions

    return Results(
        started=time.strftime("%Y-%m-%d %H:%M"),
        command=command,
        cpu=cpu(),
        cores=cores(),
        system=system(),
        versions={**versions(), "perf_analyzer": program.version().removeprefix("Perf Analyzer Version ")},
        photos="real photos" if photo_folders() else "generated photos",
        variants=[variant.name for variant in variants],
    )


def _command(plan: Plan, variants: list[str]) -> str:
    """The command that measures this plan again; its other values are those of --quick or of no option."""
    quick = " --quick" if plan.direct_concurrency == QUICK.direct_concurrency else ""
    concurrency = ",".join(map(str, plan.concurrency))
    return (
        f"birds bench{quick} --variants {','.join(variants)} --seconds {plan.seconds:g} --repeats {plan.repeats} "
        f"--concurrency {concurrency}"
    )
