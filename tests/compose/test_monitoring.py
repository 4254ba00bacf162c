"""Prometheus sees every replica, and what alerts and dashboards ask for is there."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.compose.service import Service
from tools.model_repository import ROOT
from tools.soak.checked_load import Case, CheckedLoad

ALERTS = sorted((ROOT / "deploy" / "prometheus").glob("alerts*.yml"))
DASHBOARDS = sorted((ROOT / "deploy" / "grafana").rglob("*.json"))
_SCRAPES_SECONDS = 20  # at five seconds each, enough for rates


def query(service: Service, expression: str) -> list[dict[str, Any]]:
    """What Prometheus answers now."""
    prometheus = service.container("prometheus")
    ask = ["promtool", "query", "instant", "--format=json", "http://127.0.0.1:9090", expression]
    answer: list[dict[str, Any]] = json.loads(service.execute(prometheus, *ask))
    return answer


@pytest.fixture(scope="module")
def seen(service: Service, cases: list[Case]) -> None:
    """Prometheus has seen some load."""
    with CheckedLoad("http://127.0.0.1:8000/", cases, clients=2, images_per_request=2):
        time.sleep(_SCRAPES_SECONDS)


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize(
    ("job", "name", "port"), [("frontend", "frontend", 8000), ("triton", "triton", 8012), ("haproxy", "haproxy", 8405)]
)
def test_every_replica_is_asked(service: Service, job: str, name: str, port: int) -> None:
    replicas = {f"{service.address(container, 'inner')}:{port}" for container in service.containers(name)}
    up = query(service, f'up{{job="{job}"}} == 1')
    assert {sample["metric"]["instance"] for sample in up} == replicas
