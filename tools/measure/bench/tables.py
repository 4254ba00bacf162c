"""The results as Markdown tables, for the terminal and for docs/performance.md alike."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence

from tools.measure.bench.plan import CALLERS
from tools.measure.bench.ratios import Ratio, Recorded, median_of, ratios
from tools.measure.bench.results import BASELINE, Results


def render(results: Results, recorded: Recorded | None = None) -> str:
    """All tables that there are figures for; with `recorded`, its ratios beside the new ones."""
    return "\n\n".join(_sections(results, recorded)) + "\n"


def _sections(results: Results, recorded: Recorded | None) -> Iterator[str]:
    machine = results.machine
    yield (
        f"Run of {results.started} with `{results.command}` on {machine.cores} cores of {machine.cpu}, "
        f"{machine.memory_gb:g} GB, {machine.system}; "
        f"{', '.join(f'{name} {version}' for name, version in results.versions.items())}; {results.photos}."
    )
    yield _ratios(ratios(results), recorded)
    yield _throughput(results)
    if results.original:
        yield _original(results)
    if results.direct or results.limits:
        yield _direct(results)
    if results.single:
        yield _single(results)
    if results.long_lists or results.repetition:
        yield _lists(results)
    yield _stages(results)
    if results.costs:
        yield _costs(results)
    if results.accuracy:
        yield _accuracy(results)


def _ratios(found: Sequence[Ratio], recorded: Recorded | None) -> str:
    before = {(ratio.form, ratio.name): ratio.value for ratio in recorded.ratios} if recorded else {}
    rows = [
        [
            *(ratio.form, ratio.name, _figure(ratio.value)),
            f"{'≥' if ratio.bound == 'least' else '≤'} {ratio.goal:g}",
            "yes" if ratio.met else "**no**",
            _figure(before[ratio.form, ratio.name]) if (ratio.form, ratio.name) in before else "—",
        ]
        for ratio in found
    ]
    title = f"last recorded ({recorded.started}, {recorded.cores} cores)" if recorded else "last recorded"
    return _section("Ratios", ["form", "ratio", "value", "goal", "met", title], rows)


def _figure(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def _throughput(results: Results) -> str:
    levels = sorted({point.concurrency for point in results.loads})
    rows = []
    for target in [BASELINE, *results.forms]:
        row = [target]
        for level in levels:
            speed = median_of(results, target, level, lambda point: point.images_per_second)
            p50 = median_of(results, target, level, lambda point: point.p50_ms)
            p99 = median_of(results, target, level, lambda point: point.p99_ms)
            row.append(f"{speed:.0f} ({p50:.0f} / {p99:.0f})" if speed is not None else "—")
        rows.append(row)
    failed = sum(point.failed_images for point in results.loads)
    note = f"Images a second (p50 / p99 of a call of 5 images, ms), by callers at once. Images that failed: {failed}."
    return _section("End to end", ["", *map(str, levels)], rows, note)


def _original(results: Results) -> str:
    rows = [
        [
            *(entry.target, str(entry.calls), f"{entry.mean_ms:.0f}", f"{entry.fastest_ms:.0f}"),
            *(f"{entry.slowest_ms:.0f}", f"{entry.calls_per_second:.1f}", f"{entry.total_seconds:.1f}"),
            ", ".join(f"{status}: {count}" for status, count in entry.statuses.items()),
        ]
        for entry in results.original
    ]
    head = ["", "calls", "mean ms", "fastest ms", "slowest ms", "mean RPS", "total s", "status codes"]
    return _section("16 callers at once, 5 images a call, 10 s timeout", head, rows)


def _direct(results: Results) -> str:
    levels = sorted({point.concurrency for point in results.direct})
    batches = sorted({point.batch for point in results.limits})
    head = ["", *(f"direct, {level} at once" for level in levels), *(f"limit, batch {batch}" for batch in batches)]
    rows = []
    for form in results.forms:
        direct = [
            [p.images_per_second for p in results.direct if (p.form, p.concurrency) == (form, level)]
            for level in levels
        ]
        limits = [
            [p.images_per_second for p in results.limits if (p.form, p.batch) == (form, batch)] for batch in batches
        ]
        rows.append([form, *(_median(values) for values in direct + limits)])
    hits = sum(point.cache_hits for point in results.direct)
    note = f"Images a second. Direct: perf_analyzer, gRPC, one image a request; answers from a cache: {hits}."
    return _section("Triton alone, and bare processes", head, rows, note)


def _single(results: Results) -> str:
    latencies = {
        target: [ms for point in results.single if point.target == target for ms in point.latencies_ms]
        for target in [BASELINE, *results.forms]
    }
    rows = [
        [target, f"{statistics.median(found):.0f}", f"{min(found):.0f}", f"{max(found):.0f}"]
        for target, found in latencies.items()
        if found
    ]
    head = ["", "median ms", "fastest ms", "slowest ms"]
    return _section("A single call of 5 images, nothing else to do", head, rows)


def _lists(results: Results) -> str:
    rows = []
    for form in results.forms:
        lists = [point for point in results.long_lists if point.target == form]
        repeats = [point for point in results.repetition if point.target == form]
        if lists or repeats:
            rows.append(
                [
                    form,
                    _median([p.one_call for p in lists]),
                    _median([p.short_calls for p in lists]),
                    _median([p.growth_mb for p in lists]),
                    _median([p.fresh for p in repeats]),
                    _median([p.repeated for p in repeats]),
                ]
            )
    head = ["", "one long call", "calls of 5", "memory peak, MB more", "new images", "repeated images"]
    return _section("Long lists and repeated images", head, rows, "Images a second, but for the memory.")


def _stages(results: Results) -> str:
    rows = []
    for target in [BASELINE, *results.forms]:
        points = [point for point in results.loads if (point.target, point.concurrency) == (target, CALLERS)]
        for kind, unit in (("cpu_ms", "CPU"), ("stages_ms", "waiting and computing"), ("batch_sizes", "mean batch")):
            found: dict[str, list[float]] = {}
            for point in points:
                for name, value in getattr(point, kind).items():
                    found.setdefault(name, []).append(value)
            medians = {name: statistics.median(values) for name, values in found.items()}
            text = ", ".join(f"{name} {value:.1f}" for name, value in medians.items() if value >= 0.05)
            if text:
                rows.append([target, unit, text])
    note = f"Milliseconds an image at {CALLERS} callers: CPU time by process, and Triton's own times of a request."
    return _section("Where the time goes", ["", "", ""], rows, note)


def _costs(results: Results) -> str:
    rows = [
        [
            *(cost.target, f"{cost.first_answer_seconds:.1f}", str(cost.processes), f"{cost.idle_cpu_percent:.1f}"),
            f"{cost.memory_mb:.0f}",
            f"{cost.growth_mb:+.0f} in {cost.growth_images}" if cost.growth_images else "—",
            "yes" if cost.imports_tensorflow else "no",
        ]
        for cost in results.costs
    ]
    head = ["", "first answer, s", "processes", "idle CPU, % of a core", "memory, MB", "growth, MB in images"]
    return _section("Costs", [*head, "TensorFlow loaded"], rows)


def _accuracy(results: Results) -> str:
    rows = [
        [
            found.form,
            f"{found.agreeing} of {found.photos}",
            f"{found.confident_agreeing} of {found.confident}",
            f"{found.mean_score_difference:.3f}",
        ]
        for found in results.accuracy
    ]
    head = ["", "same best label", "where LiteRT is over 0.4", "mean difference of its score"]
    return _section("Agreement with LiteRT", head, rows)


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.0f}" if values else "—"


def _section(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], note: str = "") -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n\n".join(part for part in (f"### {title}", note, "\n".join(lines)) if part)
