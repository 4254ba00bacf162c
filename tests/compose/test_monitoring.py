"""Prometheus scrapes every replica, and has the series that alerts and dashboards query."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

from tests.compose.service import Service
from tests.support.checked_load import CheckedLoad
from tests.support.expressions import PANEL_EXPRESSIONS, RULES, series_of
from tools.measure.soak.answers import Case

_SCRAPES_SECONDS = 20  # at five seconds each, enough for rates


def query(service: Service, expression: str) -> list[dict[str, Any]]:
    """The current result of an expression."""
    prometheus = service.container("prometheus")
    ask = ["promtool", "query", "instant", "--format=json", "http://127.0.0.1:9090", expression]
    answer: list[dict[str, Any]] = json.loads(service.execute(prometheus, *ask))
    return answer


@pytest.fixture(scope="module")
def seen(service: Service, cases: list[Case]) -> None:
    """Prometheus has scraped during some load, including failures."""
    url = service.url
    with CheckedLoad(url, cases, clients=2, images_per_request=2):
        for _ in range(_SCRAPES_SECONDS):
            for bad in ("http://10.0.0.1/", f"{cases[0].url}.missing"):
                httpx.post(url, json={"images": [bad]}, timeout=60).raise_for_status()
            httpx.post(f"{url}files", files={"files": b"no image"}, timeout=60).raise_for_status()
            time.sleep(1)


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize(
    ("job", "name", "port"), [("frontend", "frontend", 8000), ("triton", "triton", 8012), ("haproxy", "haproxy", 8405)]
)
def test_every_replica_is_scraped(service: Service, job: str, name: str, port: int) -> None:
    replicas = {f"{service.address(container, 'inner')}:{port}" for container in service.containers(name)}
    up = query(service, f'up{{job="{job}"}} == 1')
    assert {sample["metric"]["instance"] for sample in up} == replicas


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize("expression", PANEL_EXPRESSIONS.values(), ids=PANEL_EXPRESSIONS)
def test_every_panel_of_the_dashboard_shows_something(service: Service, expression: str) -> None:
    assert query(service, expression)


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_uses_existing_series(service: Service, rule: dict[str, Any]) -> None:
    query(service, rule["expr"])
    for series in series_of(rule["expr"]):
        assert query(service, series), f"{series} has no data"
