"""The plots of a sweep, with whatever was measured."""

from __future__ import annotations

from pathlib import Path

from tools.measure.perf.plots import draw
from tools.measure.perf.sweep import Row


def row(level: int, step: str) -> Row:
    parts = dict.fromkeys(("queue_ms", "compute_input_ms", "compute_infer_ms", "compute_output_ms"), 1.0)
    load: Row = {"model": "birds", "protocol": "grpc", "shared_memory": "none", "load": "concurrency", "level": level}
    return {**load, "images_per_second": 10.0, "p50_ms": 1.0, "p99_ms": 2.0, "step": step, "batch_size": 1.0, **parts}


def test_step_may_be_missing_at_one_level(tmp_path: Path) -> None:
    """At 16 requests at once every answer came from the cache, so that the classifier did nothing."""
    rows = [row(1, "preprocess"), row(1, "classifier"), row(16, "preprocess")]
    written = draw(rows, tmp_path)
    assert [path.name for path in written] == ["birds-concurrency.svg", "birds-concurrency.png"]
