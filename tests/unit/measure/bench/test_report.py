"""From figures to ratios, and from ratios to the page that holds them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.errors import ToolError
from tools.measure.bench.goals import ratios
from tools.measure.bench.plan import CAMERA_LOAD, QUICK
from tools.measure.bench.report import last_recorded, write_report
from tools.measure.bench.results import BASELINE, SPEED, Results
from tools.measure.bench.tables import render, summary


@pytest.fixture
def results() -> Results:
    """Three repeats; the machine was twice as fast during the last one."""
    found = Results(
        started="2026-01-02 03:04",
        command="birds bench",
        cpu="a processor",
        cores=2,
        system="8 GB, Linux",
        versions={"python": "3.11"},
        photos="generated photos",
        plan=QUICK,
        variants=["openvino"],
    )
    latencies = {"p50_ms": 100.0, "p99_ms": 150.0}
    details = {"cpu_ms/triton": 2.5, "stage_ms/classifier infer": 10.0, "batch/classifier": 4.0}
    for repeat, factor in enumerate((1, 1, 2)):
        found.add(BASELINE, "16 callers", repeat, {SPEED: 50.0 * factor, **latencies, **details})
        found.add(BASELINE, CAMERA_LOAD, repeat, {SPEED: 10.0 * factor})
        for load, speed in {
            CAMERA_LOAD: 15.0,
            "1 callers": 70.0,
            "16 callers": 110.0,
            "direct, 1 at once": 90.0,
            "direct, 16 at once": 120.0,
            "limit, batches of 1": 100.0,
            "limit, batches of 8": 125.0,
        }.items():
            found.add("openvino", load, repeat, {SPEED: speed * factor, **latencies, **details})
        found.add(BASELINE, "single calls", repeat, {"p50_ms": 100, "slowest_ms": 900})
        found.add("openvino", "single calls", repeat, {"p50_ms": 50, "slowest_ms": 60})
    costs = {"first_answer_seconds": 9.0, "processes": 5.0, "idle_cpu_percent": 0.1, "memory_mb": 800.0}
    found.add("openvino", "costs", 0, costs)
    return found


def test_ratio_is_the_median_over_the_repeats(results: Results) -> None:
    found = {ratio.name: (ratio.value, ratio.met) for ratio in ratios(results)}
    assert found == {
        "images/s at 16 callers / baseline's": (pytest.approx(2.2), True),
        "images/s at 16 callers / limit": (pytest.approx(0.88), True),
        "images/s direct / limit": (pytest.approx(0.96), True),
        "camera photos/s / baseline's": (pytest.approx(1.5), False),
        "single call of 5 / baseline's": (pytest.approx(0.5), True),
        "p99 / p50 at 16 callers": (pytest.approx(1.5), True),
        "first answer, s": (9, False),
        "idle CPU, % of a core": (0.1, True),
        "memory, MB": (800, True),
    }


def test_missing_figures_have_no_ratio(results: Results) -> None:
    results.figures = [f for f in results.figures if f.target != BASELINE and f.load != "costs"]
    assert not {"images/s at 16 callers / baseline's", "memory, MB"} & {ratio.name for ratio in ratios(results)}


def test_page_keeps_what_was_written_by_hand(results: Results, tmp_path: Path) -> None:
    write_report(results, tmp_path)
    page = tmp_path / "performance.md"
    page.write_text(f"# By hand\n\n{page.read_text()}\nAfterwards.\n")
    results.figures[0].value = 77
    results.started = "2027-01-01 00:00"
    write_report(results, tmp_path)
    text = page.read_text()
    assert text.startswith("# By hand\n")
    assert text.endswith("\nAfterwards.\n")
    assert "Run of 2027-01-01" in text
    assert "1 × 2 s for each load: 1, 16 callers; Triton alone with 16 requests at once" in text
    assert "Run of 2026-01-02" not in text
    assert "Last record: 2026-01-02 03:04, 2 cores of\na processor." in text
    assert text.count("### Goals: openvino") == 1
    assert ["16 callers", "77.0", "110"] in cells(text)
    assert ["1 callers", "—", "100 / 150"] in cells(text)
    assert ["CPU: triton", "2.50", "2.50"] in cells(text)


def test_plot_of_the_page_exists(results: Results, tmp_path: Path) -> None:
    write_report(results, tmp_path)
    (shown,) = re.findall(r"\]\((.*?\.svg)\)", (tmp_path / "performance.md").read_text())
    assert "openvino" in (tmp_path / shown).read_text()


def test_page_without_marks_is_not_touched(results: Results, tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("all mine\n")
    with pytest.raises(ToolError, match="lacks the lines"):
        write_report(results, tmp_path)
    assert page.read_text() == "all mine\n"
    assert not (tmp_path / "performance.json").exists()


def test_run_is_compared_with_the_recorded_one(results: Results, tmp_path: Path) -> None:
    assert last_recorded(tmp_path) is None
    write_report(results, tmp_path)
    for figure in results.figures:
        if (figure.target, figure.name) == ("openvino", SPEED):
            figure.value *= 1.5
    rows = cells(render(results, last_recorded(tmp_path)))
    assert ["images/s at 16 callers / baseline's", "3.30", "≥ 2.2", "yes", "2.20"] in rows


def test_configured_engine_is_compared_with_the_first_recorded_one(results: Results, tmp_path: Path) -> None:
    write_report(results, tmp_path)
    before = last_recorded(tmp_path)
    assert before is not None
    assert before.plan == QUICK
    (ratio,) = [ratio for ratio in ratios(results) if ratio.name == "memory, MB"]
    assert before.before(ratio.model_copy(update={"variant": "configured"})) == 800
    assert before.before(ratio.model_copy(update={"name": "another"})) is None


def test_results_survive_json(results: Results) -> None:
    assert Results.model_validate_json(results.model_dump_json()) == results


def test_summary_fits_a_terminal(results: Results, tmp_path: Path) -> None:
    write_report(results, tmp_path)
    shown = summary(results, last_recorded(tmp_path))
    assert max(map(len, shown.splitlines())) <= 80
    assert ["16 callers", "50.0", "110"] in cells(shown)
    assert ["first answer, s", "9.00", "≤ 8", "no", "9.00"] in cells(shown)


def cells(text: str) -> list[list[str]]:
    """The cells of every row of the tables in `text`."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows]
