"""The results as Markdown for docs/performance.md, and as a table for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tools.measure.bench.goals import Recorded, ratios
from tools.measure.bench.plan import CAMERA_LOAD, LOAD
from tools.measure.bench.results import SPEED, Results

_GROUPS = {"cpu_ms": "CPU", "stage_ms": "in Triton", "batch": "mean batch"}
_COSTS = {
    "first answer, s": "first_answer_seconds",
    "processes": "processes",
    "idle CPU, % of a core": "idle_cpu_percent",
    "memory, MB": "memory_mb",
}


def summary(results: Results, recorded: Recorded | None = None) -> str:
    """The figures and how they compare with their goals and with `recorded`, in lines of at most 80 columns."""
    lines = [f"{'images per second, 5 images per call':<42}{''.join(f'{t[:18]:>19}' for t in results.targets[:2])}"]
    for load in results.loads(SPEED):
        speeds = [_whole(results.median(target, load, SPEED)) for target in results.targets[:2]]
        lines.append(f"  {load:<40}{''.join(f'{speed:>19}' for speed in speeds)}")
    for variant in results.variants:
        lines += ["", f"{variant:<42}{'figure':>9}{'goal':>8}{'met':>7}{'last record':>13}"]
        lines += [
            f"  {ratio.name:<40}{figure(ratio.value):>9}{ratio.goal_text:>8}{'yes' if ratio.met else 'no':>7}"
            f"{figure(recorded.before(ratio) if recorded else None):>13}"
            for ratio in ratios(results)
            if ratio.variant == variant
        ]
    if recorded:
        lines += [
            "",
            f"The last record is of {recorded.started}, on {recorded.cores} cores of",
            f"{recorded.cpu[:80]}.",
        ]
    return "\n".join(lines)


def render(results: Results, recorded: Recorded | None = None) -> str:
    """All tables in Markdown; with `recorded`, the ratios of that run beside the new ones."""
    return "\n\n".join(_sections(results, recorded)) + "\n"


def _heading(results: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return (
        f"Run of {results.started} with `{results.command}` on {results.cores} cores of {results.cpu}, "
        f"{results.system}; {versions}; {results.photos}."
    )


def _sections(results: Results, recorded: Recorded | None) -> Iterator[str]:
    yield _heading(results)
    yield _goals(results, recorded)
    levels = list(results.levels.values())
    yield _section(
        "End to end",
        ["", *levels],
        [[target, *(_speed_and_latency(results, target, load) for load in levels)] for target in results.targets],
        "Images per second (p50 / p99 of a call of 5 images, ms), by concurrent callers.",
    )
    others = [load for load in results.loads(SPEED) if load not in levels]
    yield _section(
        "Camera photos, Triton directly, bare processes",
        ["", *results.targets],
        [[load, *(_whole(results.median(target, load, SPEED)) for target in results.targets)] for load in others],
        "Images per second. Direct: perf_analyzer, gRPC, one image per request. Limit: no server at all.",
    )
    yield _medians(
        *("A single call of 5 images, nothing else to do", results, "single calls"),
        {"median ms": "p50_ms", "slowest ms": "slowest_ms"},
    )
    yield _section(
        "Where the time goes",
        ["", "", ""],
        [row for load in (LOAD, CAMERA_LOAD) for target in results.targets for row in _times(results, target, load)],
        "Milliseconds per image: CPU time by process, and Triton's own times per request.",
    )
    yield _medians("Costs", results, "costs", _COSTS)


def _medians(title: str, results: Results, load: str, columns: Mapping[str, str]) -> str:
    """A row for each target, with the figures `columns` of one load."""
    rows = [[t, *(figure(results.median(t, load, name)) for name in columns.values())] for t in results.targets]
    return _section(title, ["", *columns], rows)


def _goals(results: Results, recorded: Recorded | None) -> str:
    rows = [
        [
            *(ratio.variant, ratio.name, ratio.goal_text, figure(ratio.value), "yes" if ratio.met else "**no**"),
            figure(recorded.before(ratio) if recorded else None),
        ]
        for ratio in ratios(results)
    ]
    last = f"last recorded ({recorded.started}, {recorded.cores} cores)" if recorded else "last recorded"
    return _section("Goals", ["engine variant", "name", "goal", "figure", "met", last], rows)


def _speed_and_latency(results: Results, target: str, load: str) -> str:
    speed, p50, p99 = (_whole(results.median(target, load, name)) for name in (SPEED, "p50_ms", "p99_ms"))
    return f"{speed} ({p50} / {p99})"


def _times(results: Results, target: str, load: str) -> Iterator[list[str]]:
    for group, title in _GROUPS.items():
        times = results.group(target, load, group).items()
        if text := ", ".join(f"{name} {value:.1f}" for name, value in times if value >= 0.05):
            yield [f"{target}, {load}", title, text]


def figure(value: float | None) -> str:
    """Format a value with as many digits as matter."""
    if value is None:
        return "—"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def _whole(value: float | None) -> str:
    return "—" if value is None else f"{value:.0f}"


def _section(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], note: str = "") -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n\n".join(part for part in (f"### {title}", note, "\n".join(lines)) if part)
