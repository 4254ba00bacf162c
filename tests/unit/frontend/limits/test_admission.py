"""Which requests are accepted, and how callers delay each other."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack

import pytest
from anyio import current_time
from hypothesis import given
from hypothesis import strategies as st

from frontend.errors import ServiceOverloaded
from frontend.limits.admission import Admission


def admitted(admission: Admission, requests: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return those of `requests`, pairs of caller and number of images, that are accepted one after the other."""
    accepted = []
    with ExitStack() as running:
        for caller, images in requests:
            try:
                running.enter_context(admission.admit(caller, images, current_time() + 60))
                accepted.append((caller, images))
            except ServiceOverloaded:
                pass
    return accepted


async def test_requests_are_accepted_while_little_is_ahead() -> None:
    assert admitted(Admission(128), [("a", 5)] * 100) == [("a", 5)] * 29  # 28 * 5 <= 128 + 3 * 5
    assert admitted(Admission(128), [("a", 1000)] * 20) == [("a", 1000)] * 4
    assert admitted(Admission(0), [("a", 1)] * 9) == [("a", 1)] * 4


async def test_long_lists_refuse_only_long_lists() -> None:
    short = [("a", 5), ("a", 20), ("a", 100)]
    assert admitted(Admission(128), [("a", 1000)] * 5 + short) == [("a", 1000)] * 4 + short


async def test_crowd_of_one_caller_refuses_only_that_caller() -> None:
    """330 requests of one image each: without callers they refused everybody else."""
    admission = Admission(320)
    with ExitStack() as running:
        for _ in range(324):
            running.enter_context(admission.admit("crowd", 1, current_time() + 60))
        assert admission.would_refuse("crowd")
        for n in range(100):
            running.enter_context(admission.admit(f"caller {n}", 3, current_time() + 60))


async def test_many_callers_together_are_bounded() -> None:
    accepted = admitted(Admission(320), [(f"caller {n}", 10) for n in range(1000)])
    assert accepted == [(f"caller {n}", 10) for n in range(36)]  # 35 * 10 <= 320 + 3 * 10


async def test_done_images_are_no_longer_ahead() -> None:
    admission = Admission(1)
    with ExitStack() as running:
        tickets = [running.enter_context(admission.admit("a", 10, current_time() + 60)) for _ in range(4)]
        with pytest.raises(ServiceOverloaded):
            running.enter_context(admission.admit("a", 10, current_time() + 60))
        for _ in range(10):
            tickets[0].image_done()  # it counts as one image until the request ends
        running.enter_context(admission.admit("a", 10, current_time() + 60))
    assert admission.unfinished == 0


async def test_requests_past_their_deadline_delay_nobody() -> None:
    admission = Admission(0)
    with ExitStack() as running:
        for _ in range(10):
            running.enter_context(admission.admit("a", 100, current_time() - 1))
        assert admission.unfinished == 1000


async def test_retry_after_varies_within_a_few_seconds() -> None:
    admission = Admission(0)
    with ExitStack() as running:
        for _ in range(4):
            running.enter_context(admission.admit("a", 1000, current_time() + 60))
        refusals = [admission.would_refuse("a", 1000) for _ in range(200)]
    assert {refusal.headers["Retry-After"] for refusal in refusals if refusal} == {"1", "2", "3", "4", "5"}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 1000)), max_size=30), st.integers(0, 400))
async def test_few_busy_callers_never_refuse_a_newcomer(requests: list[tuple[str, int]], max_backlog: int) -> None:
    """At most three other callers are busy, and each counts at most as many images as the newcomer has."""
    admission = Admission(max_backlog)
    with ExitStack() as running:
        for caller, images in requests:
            try:
                running.enter_context(admission.admit(caller, images, current_time() + 60))
            except ServiceOverloaded:
                pass
        assert not admission.would_refuse("newcomer", 7)
