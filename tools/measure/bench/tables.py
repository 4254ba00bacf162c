"""The results as Markdown for docs/performance.md, and as a table for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tools.measure.bench.goals import LOAD, Recorded, ratios
from tools.measure.bench.results import SPEED, Results

_GROUPS = (("cpu_ms", "CPU"), ("stage_ms", "in Triton"), ("batch", "mean batch"))
_COSTS = {
    "first answer, s": "first_answer_seconds",
    "processes": "processes",
    "idle CPU, % of a core": "idle_cpu_percent",
    "memory, MB": "memory_mb",
}


def summary(results: Results) -> str:
    """The figures and how they compare with their goals, in lines of at most 80 columns."""
    lines = [f"{'images per second, 5 images per call':<42}{''.join(f'{t[:18]:>19}' for t in results.targets[:2])}"]
    for load in dict.fromkeys(figure.load for figure in results.figures if figure.name == SPEED):
        speeds = [results.median(target, load, SPEED) for target in results.targets[:2]]
        lines.append(f"  {load:<40}{''.join(f'{_whole(speed):>19}' for speed in speeds)}")
    for variant in results.variants:
        lines += ["", f"{variant:<46}{'value':>10}{'goal':>10}"]
        for ratio in (ratio for ratio in ratios(results) if ratio.variant == variant):
            goal = f"{'≥' if ratio.bound == 'least' else '≤'} {ratio.goal:g}"
            lines.append(f"  {ratio.name:<44}{figure(ratio.value):>10}{goal:>10}  {'met' if ratio.met else 'not met'}")
    return "\n".join(lines)


def render(results: Results, recorded: Recorded | None = None) -> str:
    """All tables in Markdown; with `recorded`, the ratios of that run beside the new ones."""
    return "\n\n".join(_sections(results, recorded)) + "\n"


def _sections(results: Results, recorded: Recorded | None) -> Iterator[str]:
    machine = results.machine
    yield (
        f"Run of {results.started} with `{results.command}` on {machine.cores} cores of {machine.cpu}, "
        f"{machine.memory_gb:g} GB, {machine.system}; "
        f"{', '.join(f'{name} {version}' for name, version in results.versions.items())}; {results.photos}."
    )
    yield _ratios(results, recorded)
    levels = list(results.levels.values())
    yield _section(
        "End to end",
        ["", *levels],
        [[target, *(_speed_and_latency(results, target, load) for load in levels)] for target in results.targets],
        "Images per second (p50 / p99 of a call of 5 images, ms), by concurrent callers.",
    )
    others = [load for load in results.loads("") if load not in levels and load != "single calls"]
    others = [load for load in others if any(f.load == load and f.name == SPEED for f in results.figures)]
    yield _section(
        "Triton directly, bare processes, other images",
        ["", *others],
        [[target, *(_whole(results.median(target, load, SPEED)) for load in others)] for target in results.variants],
        "Images per second. Direct: perf_analyzer, gRPC, one image per request. Limit: no server at all.",
    )
    yield _section(
        "A single call of 5 images, nothing else to do",
        ["", "median ms", "slowest ms"],
        [
            [target, *(_whole(results.median(target, "single calls", name)) for name in ("p50_ms", "slowest_ms"))]
            for target in results.targets
        ],
    )
    yield _section(
        "Where the time goes",
        ["", "", ""],
        [row for target in results.targets for row in _times(results, target)],
        f"Milliseconds per image at {LOAD}: CPU time by process, and Triton's own times per request.",
    )
    if results.loads("costs"):
        rows = [
            [target, *(figure(results.median(target, "costs", name)) for name in _COSTS.values())]
            for target in results.targets
        ]
        yield _section("Costs", ["", *_COSTS], rows)


def _ratios(results: Results, recorded: Recorded | None) -> str:
    before = {(ratio.variant, ratio.name): ratio.value for ratio in recorded.ratios} if recorded else {}
    rows = [
        [
            *(ratio.variant, ratio.name, figure(ratio.value)),
            f"{'≥' if ratio.bound == 'least' else '≤'} {ratio.goal:g}",
            "yes" if ratio.met else "**no**",
            figure(before.get((ratio.variant, ratio.name))),
        ]
        for ratio in ratios(results)
    ]
    title = f"last recorded ({recorded.started}, {recorded.cores} cores)" if recorded else "last recorded"
    return _section("Ratios", ["engine variant", "ratio", "value", "goal", "met", title], rows)


def _speed_and_latency(results: Results, target: str, load: str) -> str:
    speed, p50, p99 = (results.median(target, load, name) for name in (SPEED, "p50_ms", "p99_ms"))
    return f"{_whole(speed)} ({_whole(p50)} / {_whole(p99)})"


def _times(results: Results, target: str) -> Iterator[list[str]]:
    for group, title in _GROUPS:
        times = results.group(target, LOAD, group).items()
        if text := ", ".join(f"{name} {value:.1f}" for name, value in times if value >= 0.05):
            yield [target, title, text]


def figure(value: float | None) -> str:
    """With as many digits as matter."""
    if value is None:
        return "—"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def _whole(value: float | None) -> str:
    return "—" if value is None else f"{value:.0f}"


def _section(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], note: str = "") -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n\n".join(part for part in (f"### {title}", note, "\n".join(lines)) if part)
