"""The Ingress and the HTTPRoute publish every path of the frontend that is for users, and not the metrics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from starlette.routing import Mount, Route

from frontend.api.routes import router as api_router
from frontend.app import create_app
from frontend.page.page import router as page_router
from frontend.settings import Settings
from tests.chart.helm import render
from tests.chart.objects import Object, of_kind
from tests.support.frontend_server import running_frontend

VALUES = Path(__file__).with_name("values")
METRICS = ["/metrics", "/metrics/", "/METRICS", "/%6detrics", "//metrics", "/./metrics"]

Publishes = Callable[[str], bool]


@pytest.fixture(scope="module", params=["ingress", "gateway"])
def publishes(request: pytest.FixtureRequest) -> Publishes:
    """Whether the rendered object publishes a path, by the rules of its API."""
    (entry,) = of_kind(render(VALUES / f"{request.param}.yaml"), "Ingress", "HTTPRoute")
    matchers = [_exact(path) if exact else _below(path) for path, exact in _paths(entry)]
    return lambda path: any(matches(path) for matches in matchers)


def _paths(entry: Object) -> list[tuple[str, bool]]:
    """The paths of every rule, and whether a path is meant exactly, without the paths below it."""
    rules = entry["spec"]["rules"]
    if entry["kind"] == "HTTPRoute":
        matches = [match["path"] for rule in rules for match in rule["matches"]]
        return [(match["value"], match["type"] == "Exact") for match in matches]
    return [(path["path"], path["pathType"] == "Exact") for rule in rules for path in rule["http"]["paths"]]


def _exact(published: str) -> Publishes:
    return lambda path: path == published


def _below(published: str) -> Publishes:
    """Both APIs match whole segments."""
    segments = published.strip("/").split("/") if published != "/" else []
    return lambda path: path.strip("/").split("/")[: len(segments)] == segments


def test_every_path_for_users_is_published(publishes: Publishes) -> None:
    app = create_app(Settings())
    routes = [*app.routes, *api_router.routes, *page_router.routes]
    paths = {route.path for route in routes if isinstance(route, Route)}
    paths |= {f"{route.path}/page.js" for route in routes if isinstance(route, Mount)}
    assert {"/", "/files", "/docs", "/static/page.js"} <= paths
    assert paths >= set(app.openapi()["paths"])
    assert {path for path in paths if not publishes(path)} == {"/metrics"}


@pytest.mark.parametrize("path", METRICS)
def test_metrics_are_not_published(publishes: Publishes, path: str) -> None:
    assert not publishes(path)


def test_published_paths_do_not_lead_to_metrics() -> None:
    """A proxy that does not normalize paths would pass these on."""
    with running_frontend(Settings()) as url:
        assert httpx.get(f"{url}/metrics").status_code == 200
        paths = [f"/{folder}/%2e%2e/metrics" for folder in ("static", "health", "docs")]
        assert {httpx.get(f"{url}{path}").status_code for path in paths} == {404}


def test_every_host_publishes_the_same() -> None:
    (entry,) = of_kind(render(VALUES / "ingress.yaml"), "Ingress")
    first, second = entry["spec"]["rules"]
    assert first["http"] == second["http"]
