"""The bare processes decode and infer for as long as they are asked to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.processes import libraries_of
from tools.measure.bench.engine_variant import parse_variant
from tools.measure.bench.limit import Limit
from tools.measure.processes import usage


@pytest.mark.parametrize(("variant", "imported"), [("openvino", False), ("tensorflow", True)])
def test_each_core_classifies_with_the_engine_asked_for(
    tiny_savedmodel: Path, variant: str, imported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if imported:  # the import of TensorFlow takes seconds: one core is enough
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with Limit(parse_variant(variant), tiny_savedmodel) as limit:
        assert limit.images_per_second(0.1, 2) > 0
        children = [process.submit(os.getpid).result() for process in limit.processes]
        assert len(children) == len(os.sched_getaffinity(0))
        for pid in children:
            found = usage(pid, "limit")
            assert found.processes == 1
            assert found.cpu_seconds["limit"] > 0
            assert 20 < found.memory_mb < 5000
            assert any("libtensorflow" in path for path in libraries_of(pid)) is imported
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
