"""Rate limits: how images are counted, and who counts as one caller."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from frontend.errors import RateLimited, TooManyImages
from frontend.middleware.rate_limit import RateLimit
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


def test_a_charge_expires_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000.0
    monkeypatch.setattr("limits.storage.memory.time.time", lambda: now)
    limit = RateLimit("10/minute")
    limit.charge("someone", 10)
    with pytest.raises(RateLimited) as refusal:
        limit.check("someone")
    for _ in range(20):  # a caller that waits for Retry-After is soon admitted
        now += float(refusal.value.parameters["seconds"])
        try:
            limit.check("someone")
            break
        except RateLimited as again:
            refusal.value.parameters = again.parameters
    assert 1_000_000 < now <= 1_000_000 + 120


@pytest.mark.parametrize("limit", ["", "600", "many/minute", "600/fortnight", "-1/minute", "0/minute"])
def test_an_unusable_limit_is_refused(limit: str) -> None:
    with pytest.raises(ValidationError, match="rate_limit"):
        Settings(rate_limit=limit)


def test_more_than_the_whole_limit_gets_no_retry() -> None:
    limit = RateLimit("10/minute")
    with pytest.raises(TooManyImages) as refusal:
        limit.charge("a", 11)
    assert refusal.value.parameters == {"max": 10}
    limit.charge("a", 10)  # the refusal counted nothing
