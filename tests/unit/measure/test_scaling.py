"""From CPU times to pods and dollars."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.classify import classifier
from tools import ROOT
from tools.errors import ToolError
from tools.measure import scaling
from tools.measure.bench.goals import Recorded, Speed
from tools.measure.bench.report import last_recorded
from tools.measure.scaling import Costs, costs_of, hardware_for

COSTS = Costs(preprocess_ms=4, classifier_ms=5, triton_ms=10, frontend_ms=2, utilisation=0.9)


def recorded(**cpu_ms: float) -> Recorded:
    speed = Speed(variant="engine", images_per_second=100, cpu_ms=cpu_ms)
    return Recorded(started="today", cpu="some", cores=2, ratios=[], speeds=[speed])


def test_page_has_the_tables_of_the_recorded_run() -> None:
    documented = last_recorded()
    assert documented is not None
    assert scaling.render(documented) in (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")


def test_costs_are_those_of_the_benchmark() -> None:
    run = recorded(preprocess=4, classifier=5, triton=1, frontend=2, **{"load generator": 3})
    costs = costs_of(run, run.speeds[0])
    assert (costs.triton_ms, costs.frontend_ms) == (10, 2)
    assert costs.utilisation == pytest.approx(100 * 0.015 / 2)  # the benchmark's own processes are included


def test_missing_step_is_named() -> None:
    run = recorded(preprocess=4, triton=1, frontend=2)
    with pytest.raises(ToolError, match="no CPU time of classifier for engine"):
        scaling.render(run)


def test_pods_and_dollars_are_right() -> None:
    found = hardware_for(1000, COSTS)
    assert found.pod_images_per_second == pytest.approx(2 * 0.9 * 1000 / 10)  # 180; 70% of them are planned with
    assert found.triton_pods == 8
    assert found.frontend_pods == math.ceil(1000 / (64 / 0.3))
    assert found.cores == 16 + 5
    assert found.dollars_per_million == pytest.approx(21 * 0.04 / 3.6)


def test_gpu_node_is_limited_by_its_cpu() -> None:
    found = hardware_for(1000, COSTS, gpu=True)
    assert found.pod_images_per_second == pytest.approx(8 * 0.9 * 1000 / 5)
    assert found.gpus == found.triton_pods


def test_at_least_two_pods_of_each_kind() -> None:
    found = hardware_for(0.001, COSTS)
    assert (found.triton_pods, found.frontend_pods) == (2, 2)


def test_frontend_limit_is_the_codes_own() -> None:
    assert scaling._FRONTEND_IMAGES == classifier._MAX_IN_FLIGHT


@given(st.floats(0.1, 1e6), st.floats(1, 10), st.booleans())
def test_more_images_never_take_less(rate: float, factor: float, gpu: bool) -> None:
    less, more = hardware_for(rate, COSTS, gpu), hardware_for(rate * factor, COSTS, gpu)
    assert more.triton_pods >= less.triton_pods
    assert more.cores >= less.cores
