"""The results as Markdown tables, for the terminal and for docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tools.measure.bench.goals import Recorded, ratios
from tools.measure.bench.plan import CAMERA_LOAD, IMAGES_PER_CALL, LOAD, SINGLE_CALLS
from tools.measure.bench.results import SPEED, Results
from tools.measure.markdown import table

Figures = Sequence[tuple[str, str]]  # what a cell shows: the load and the name of each figure

_GROUPS = {"cpu_ms": "CPU", "stage_ms": "in Triton", "batch": "mean batch"}
_COSTS = {
    "first answer, s": "first_answer_seconds",
    "processes": "processes",
    "idle CPU, % of a core": "idle_cpu_percent",
    "memory, MB": "memory_mb",
}


def summary(results: Results, recorded: Recorded | None = None) -> str:
    """The goals and the throughput, in lines of at most 80 columns for one engine variant."""
    return "\n\n".join([*_goals(results, recorded), _throughput(results)])


def render(results: Results, recorded: Recorded | None = None) -> str:
    """All tables; with `recorded`, the ratios of that run beside the new ones."""
    sections = [_heading(results), *_goals(results, recorded), _throughput(results), _latency(results)]
    sections += [_times(results, load) for load in (LOAD, CAMERA_LOAD)]
    return "\n\n".join([*sections, _costs(results)]) + "\n"


def _heading(results: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return (
        f"Run of {results.started} with `{results.command}` on {results.cores} cores of {results.cpu}, "
        f"{results.system}; {versions}; {results.photos}{f'; {results.plan}' if results.plan else ''}."
    )


def _goals(results: Results, recorded: Recorded | None) -> list[str]:
    note = f"Last record: {recorded.started}, {recorded.cores} cores of\n{recorded.cpu[:79]}." if recorded else ""
    found, sections = ratios(results), []
    for variant in results.variants:
        rows = [["", "figure", "goal", "met", "last record"]]
        for ratio in [ratio for ratio in found if ratio.variant == variant]:
            last = _figure(recorded.before(ratio) if recorded else None)
            rows.append([ratio.name, _figure(ratio.value), ratio.goal_text, "yes" if ratio.met else "no", last])
        sections.append(_section(f"Goals: {variant}", rows, note))
    return sections


def _throughput(results: Results) -> str:
    rows = {load: [(load, SPEED)] for load in results.loads(SPEED)}
    note = "Direct: perf_analyzer, gRPC, one image per request. Limit: no server at all."
    return _by_target(results, "Images per second", rows, note)


def _latency(results: Results) -> str:
    rows = {load: [(load, "p50_ms"), (load, "p99_ms")] for load in results.loads("p99_ms")}
    rows[SINGLE_CALLS] = [(SINGLE_CALLS, "p50_ms"), (SINGLE_CALLS, "slowest_ms")]
    note = "Median / 99th percentile. Single calls, with nothing else to do: median / slowest."
    return _by_target(results, f"Time of a call of {IMAGES_PER_CALL} images, ms", rows, note)


def _times(results: Results, load: str) -> str:
    rows = {}
    for name in results.names(load):
        group, slash, part = name.partition("/")
        if slash:
            rows[f"{_GROUPS[group]}: {part}"] = [(load, name)]
    note = "Milliseconds per image: CPU time by process, and Triton's own times per request."
    return _by_target(results, f"Where the time goes: {load}", rows, note)


def _costs(results: Results) -> str:
    return _by_target(results, "Costs", {title: [("costs", name)] for title, name in _COSTS.items()})


def _by_target(results: Results, title: str, rows: Mapping[str, Figures], note: str = "") -> str:
    """A column for each target, with medians over the repeats."""
    cells = [[head, *(_cell(results, target, figures) for target in results.targets)] for head, figures in rows.items()]
    return _section(title, [["", *results.targets], *cells], note)


def _cell(results: Results, target: str, figures: Figures) -> str:
    values = [results.median(target, *one) for one in figures]
    return "—" if values[0] is None else " / ".join(map(_figure, values))


def _figure(value: float | None) -> str:
    """Format a value with as many digits as matter."""
    if value is None:
        return "—"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3
    return f"{value:.{digits}f}"


def _section(title: str, rows: Sequence[Sequence[str]], note: str = "") -> str:
    """A heading, a note and a table, whose first row names the columns."""
    return "\n\n".join(filter(None, [f"### {title}", note, table(rows)]))
