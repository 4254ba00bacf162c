"""From figures to ratios, and from ratios to the page that holds them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.measure.bench.ratios import ratios
from tools.measure.bench.report import last_recorded, write_report
from tools.measure.bench.results import BASELINE, Cost, DirectPoint, LimitPoint, LoadPoint, Machine, Results, SingleCall
from tools.measure.bench.tables import render


def load_point(target: str, repeat: int, speed: float, concurrency: int = 16) -> LoadPoint:
    return LoadPoint(
        target=target,
        concurrency=concurrency,
        repeat=repeat,
        images_per_second=speed,
        p50_ms=100,
        p99_ms=150,
        mean_ms=110,
        statuses={"200": 20},
        failed_images=0,
        cpu_ms={"triton": 2.5},
        stages_ms={"classifier infer": 10},
        batch_sizes={"classifier": 4},
    )


@pytest.fixture
def results() -> Results:
    """Three repeats; the machine was twice as fast during the last one."""
    found = Results(
        started="2026-01-02 03:04",
        command="python -m tools.measure.bench",
        machine=Machine(cpu="a processor", cores=2, memory_gb=8, system="Linux"),
        versions={"python": "3.11"},
        photos="generated photos",
        forms=["openvino"],
    )
    for repeat, factor in enumerate((1, 1, 2)):
        found.loads += [load_point(BASELINE, repeat, 50 * factor), load_point("openvino", repeat, 110 * factor)]
        found.loads.append(load_point("openvino", repeat, 70 * factor, concurrency=1))
        for concurrency, speed in ((1, 90.0), (16, 120.0)):
            direct = DirectPoint(
                form="openvino",
                concurrency=concurrency,
                repeat=repeat,
                images_per_second=speed * factor,
                p50_ms=1,
                p99_ms=2,
                cache_hits=0,
            )
            found.direct.append(direct)
        limits = {1: 100.0, 8: 125.0}
        found.limits += [
            LimitPoint(form="openvino", batch=batch, repeat=repeat, images_per_second=speed * factor)
            for batch, speed in limits.items()
        ]
        found.single.append(SingleCall(target=BASELINE, repeat=repeat, latencies_ms=[80, 100, 900]))
        found.single.append(SingleCall(target="openvino", repeat=repeat, latencies_ms=[50, 40, 60]))
    found.costs.append(
        Cost(
            target="openvino",
            first_answer_seconds=9,
            processes=5,
            idle_cpu_percent=0.1,
            memory_mb=800,
            growth_mb=1,
            growth_images=5000,
            imports_tensorflow=False,
        )
    )
    return found


def test_ratios_are_taken_within_a_repeat_and_then_the_median(results: Results) -> None:
    found = {ratio.name: (ratio.value, ratio.met) for ratio in ratios(results)}
    assert found == {
        "images/s at 16 callers / baseline's": (pytest.approx(2.2), True),
        "images/s at 16 callers / limit": (pytest.approx(0.88), True),
        "images/s direct / limit": (pytest.approx(0.96), True),
        "single call of 5 / baseline's": (pytest.approx(0.5), True),
        "p99 / p50 at 16 callers": (pytest.approx(1.5), True),
        "first answer, s": (9, False),
        "idle CPU, % of a core": (0.1, True),
        "memory, MB": (800, True),
        "growth in 10,000 images, MB": (2, True),
    }


def test_what_was_not_measured_has_no_ratio(results: Results) -> None:
    results.loads = [point for point in results.loads if point.target != BASELINE]
    results.costs = []
    assert not {"images/s at 16 callers / baseline's", "memory, MB"} & {ratio.name for ratio in ratios(results)}


def test_the_page_keeps_what_was_written_by_hand(results: Results, tmp_path: Path) -> None:
    write_report(results, tmp_path)
    page = tmp_path / "performance.md"
    page.write_text(f"# By hand\n\n{page.read_text()}\nAfterwards.\n")
    results.loads[1].images_per_second = 77
    results.started = "2027-01-01 00:00"
    write_report(results, tmp_path)
    text = page.read_text()
    assert text.startswith("# By hand\n")
    assert text.endswith("\nAfterwards.\n")
    assert "2027-01-01" in text
    assert "2026-01-02" not in text
    assert text.count("### Ratios") == 1
    assert "| openvino | 70 (100 / 150) | 110 (100 / 150) |" in text


def test_every_plot_that_the_page_shows_is_there(results: Results, tmp_path: Path) -> None:
    write_report(results, tmp_path)
    shown = re.findall(r"\]\((.*?\.svg)\)", (tmp_path / "performance.md").read_text())
    assert [Path(plot).stem for plot in shown] == ["throughput", "latency", "stages"]
    for plot in shown:
        assert "openvino" in (tmp_path / plot).read_text()
        assert (tmp_path / plot).with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_a_page_without_its_marks_is_not_touched(results: Results, tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("all mine\n")
    with pytest.raises(ValueError, match="lacks the lines"):
        write_report(results, tmp_path)
    assert page.read_text() == "all mine\n"
    assert not (tmp_path / "performance.json").exists()


def test_a_run_is_compared_with_the_last_recorded_one(results: Results, tmp_path: Path) -> None:
    assert last_recorded(tmp_path) is None
    write_report(results, tmp_path)
    for point in results.loads:
        if point.target == "openvino":
            point.images_per_second *= 1.5
    row = next(line for line in render(results, last_recorded(tmp_path)).splitlines() if "baseline's" in line)
    assert row == "| openvino | images/s at 16 callers / baseline's | 3.30 | ≥ 2 | yes | 2.20 |"


def test_results_survive_the_way_through_json(results: Results) -> None:
    assert Results.model_validate_json(results.model_dump_json()) == results
