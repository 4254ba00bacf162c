"""From CPU times to pods and money."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.classify import classifier
from tools.measure.bench.ratios import Recorded, Speed
from tools.measure.capacity.costs import Costs, NotRecorded, read_costs
from tools.measure.capacity.plan import Assumptions, frontend_pod, plan
from tools.measure.capacity.validation import _Arrangement

COSTS = Costs("engine", {"preprocess": 4.0, "classifier": 5.0, "triton": 1.0, "frontend": 2.0}, utilisation=0.9)
PLAIN = Assumptions(peak_use=0.5, triton_cores=2, core_hour=0.05, gpu_images=1000, gpu_cores=4, gpu_hour=1.0)


def recorded(**cpu_ms: float) -> Recorded:
    speed = Speed(form="engine", images_per_second=100, cpu_ms=cpu_ms)
    return Recorded(started="today", cpu="some", cores=2, ratios=[], speeds=[speed])


def test_the_costs_are_those_of_the_benchmark() -> None:
    costs = read_costs(recorded(preprocess=4, classifier=5, triton=1, frontend=2, **{"load generator": 3}), "engine")
    assert (costs.triton_ms, costs.frontend_ms) == (10, 2)
    assert costs.utilisation == pytest.approx(100 * 0.015 / 2)  # the benchmark's own processes were busy as well


def test_a_form_that_was_not_measured_is_refused_with_those_that_were() -> None:
    with pytest.raises(NotRecorded, match=r"no figures for abacus; it has engine"):
        read_costs(recorded(preprocess=4, classifier=5, triton=1, frontend=2), "abacus")


def test_a_step_without_a_figure_is_named() -> None:
    with pytest.raises(NotRecorded, match="no CPU time of classifier"):
        read_costs(recorded(preprocess=4, triton=1, frontend=2), "engine")


def test_pods_are_counted_by_hand() -> None:
    found = plan(1000, COSTS, PLAIN)
    assert found.pod_images_per_second == pytest.approx(2 * 0.9 * 1000 / 10)  # 180, of which half is used
    assert found.triton_pods == 12
    assert found.frontend_pods == math.ceil(1000 / (64 / 0.3))
    assert found.cores == 24 + 5
    assert found.dollars_per_million == pytest.approx(29 * 0.05 / 3.6)
    assert found.bound_by == "CPU: classifier 50%"
    assert found.gigabits_per_second == pytest.approx(1000 * 300e3 * 8 / 1e9)


def test_a_gpu_node_is_bound_by_what_is_slower() -> None:
    by_cpu = plan(1000, COSTS, PLAIN, gpu=True)
    assert by_cpu.pod_images_per_second == pytest.approx(4 * 0.9 * 1000 / 5)
    assert by_cpu.bound_by == "CPU: preprocess 80%"
    by_gpu = plan(1000, COSTS, dataclasses.replace(PLAIN, gpu_images=100), gpu=True)
    assert (by_gpu.bound_by, by_gpu.gpus) == ("GPU", 20)


def test_there_are_never_fewer_than_two() -> None:
    found = plan(0.001, COSTS, PLAIN)
    assert (found.triton_pods, found.frontend_pods) == (2, 2)


def test_a_frontend_has_places_and_a_core() -> None:
    assert frontend_pod(COSTS, PLAIN) == pytest.approx(64 / 0.3)
    quick = dataclasses.replace(PLAIN, download_seconds=0.01, inference_seconds=0.02)
    assert frontend_pod(COSTS, quick) == pytest.approx(0.6 * 1000 / 2)
    assert PLAIN.frontend_places == classifier._MAX_IN_FLIGHT


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_is_positive(rate: float) -> None:
    with pytest.raises(ValueError, match="not positive"):
        plan(rate, COSTS, PLAIN)


@given(st.floats(0.1, 1e6), st.floats(1, 10), st.booleans())
def test_more_images_never_take_less(rate: float, factor: float, gpu: bool) -> None:
    less, more = plan(rate, COSTS, PLAIN, gpu), plan(rate * factor, COSTS, PLAIN, gpu)
    assert more.triton_pods >= less.triton_pods
    assert more.cores >= less.cores
    assert less.triton_pods * less.pod_images_per_second * PLAIN.peak_use >= rate * (1 - 1e-9)


def test_what_is_full_and_what_comes_next() -> None:
    found = plan(1000, COSTS, PLAIN)
    assert [ceiling.name for ceiling in found.exceeded] == ["a Triton pod", "a frontend pod"]
    assert found.next is not None
    assert found.next.name == "a NAT gateway's bandwidth"
    assert all(ceiling.images_per_second > 1000 for ceiling in found.ceilings if ceiling not in found.exceeded)


@pytest.mark.parametrize(
    ("arrangement", "expected"),
    [
        (_Arrangement("one, alone on its core", [{0}], {1}), 90),
        (_Arrangement("two on one core", [{0}, {0}], {1}), 90),
        (_Arrangement("two, and the rest on the same cores", [{0}, {1}], {0, 1}), 2 * 0.9 * 1000 / 12),
        (_Arrangement("two, and the rest elsewhere", [{0}, {1}], {2}), 180),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_an_arrangement_is_predicted_by_the_cores_it_has(arrangement: _Arrangement, expected: float) -> None:
    assert arrangement.predict(triton_ms=10, rest_ms=2, utilisation=0.9) == pytest.approx(expected)
