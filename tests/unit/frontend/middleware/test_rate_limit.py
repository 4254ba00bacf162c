"""Rate limits: how images are counted, and who counts as one caller."""

from __future__ import annotations

from contextlib import suppress
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from frontend.errors import RateLimited, TooManyImages
from frontend.middleware.rate_limit import RateLimit, parse_limit
from frontend.middleware.request_context import network_caller
from frontend.settings import Settings


@pytest.mark.parametrize(
    ("address", "caller"),
    [
        ("192.0.2.1", "net:192.0.2.1"),
        ("::ffff:192.0.2.1", "net:192.0.2.1"),
        ("2001:db8::1", "net:2001:db8::/64"),
        ("2001:db8::ffff:2", "net:2001:db8::/64"),
        ("2001:db8:0:1::1", "net:2001:db8:0:1::/64"),
        ("fe80::1%eth0", "net:fe80::/64"),
        ("", "net:"),
        ("not an address", "net:not an address"),
    ],
)
def test_a_network_is_one_caller(address: str, caller: str) -> None:
    assert network_caller(address) == caller


def test_the_number_of_counters_is_limited() -> None:
    limit = RateLimit("1/hour")
    counters = {limit._counter(f"net:10.{a}.{b}.1") for a in range(256) for b in range(256)}
    assert len(counters) <= 8192


@example(history=[(2.5, 8)], images=4)  # they fit after a whole number of seconds
@given(
    history=st.lists(st.tuples(st.floats(0, 150), st.integers(1, 10)), max_size=20),
    images=st.integers(1, 10),
)
def test_retry_after_is_when_images_fit(history: list[tuple[float, int]], images: int) -> None:
    with patch("time.monotonic", return_value=1_000_000.0) as clock:
        limit = RateLimit("10/minute")
        for pause, charged in history:
            clock.return_value += pause
            with suppress(RateLimited):
                limit.charge("someone", charged)
        try:
            limit.charge("someone", images)
            return
        except RateLimited as refusal:
            seconds = float(refusal.parameters["seconds"])
        assert 1 <= seconds <= 121
        clock.return_value += seconds - 1.01
        if seconds > 1:
            with pytest.raises(RateLimited):
                limit.charge("someone", images)
        clock.return_value += 1.01
        limit.charge("someone", images)


def test_a_steady_caller_gets_the_whole_limit() -> None:
    with patch("time.monotonic", return_value=1_000_000.0) as clock:
        limit, accepted = RateLimit("60/minute"), 0
        for _ in range(2400):  # four requests per second for ten minutes
            clock.return_value += 0.25
            with suppress(RateLimited):
                limit.charge("someone", 1)
                accepted += 1
    assert 600 <= accepted <= 660


@pytest.mark.parametrize(
    ("limit", "images_and_seconds"),
    [
        ("600/minute", (600, 60)),
        ("5/second", (5, 1)),
        (" 2 / Hour ", (2, 3600)),
        ("10 per day", (10, 86_400)),
        ("100/10 minutes", (100, 600)),
        ("100per10minutes", (100, 600)),
    ],
)
def test_a_limit_names_images_and_a_period(limit: str, images_and_seconds: tuple[int, int]) -> None:
    assert parse_limit(limit) == images_and_seconds


@pytest.mark.parametrize(
    "limit",
    [
        "",
        "600",
        "many/minute",
        "600/fortnight",
        "-1/minute",
        "0/minute",
        "5/0 minutes",
        "600/minute; 5/second",
        "600/minute,5/second",
    ],
)
def test_an_unusable_limit_is_refused(limit: str) -> None:
    with pytest.raises(ValidationError, match="rate_limit"):
        Settings(rate_limit=limit)


def test_more_than_the_whole_limit_gets_no_retry() -> None:
    limit = RateLimit("10/minute")
    with pytest.raises(TooManyImages) as refusal:
        limit.charge("a", 11)
    assert refusal.value.parameters == {"max": 10}
    limit.charge("a", 10)  # the refusal counted nothing
