"""Every test in this folder needs Helm and runs only with make test-chart."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from tests.chart.helm import CHART, render
from tests.chart.objects import Object

PRODUCTION = CHART / "values-production.yaml"
VALUE_SETS = [*sorted(Path(__file__).with_name("values").glob("*.yaml")), PRODUCTION]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.chart)


@cache
def rendered(values: Path) -> list[Object]:
    return render(values)


@pytest.fixture(params=VALUE_SETS, ids=lambda path: path.stem)
def values(request: pytest.FixtureRequest) -> Path:
    """Each set of values in turn."""
    path: Path = request.param
    return path


@pytest.fixture
def objects(values: Path) -> list[Object]:
    """The rendered objects of each set of values. Tests must not change them."""
    return rendered(values)


@pytest.fixture
def everything() -> list[Object]:
    """The objects of the set that turns everything on. Tests must not change them."""
    return rendered(Path(__file__).with_name("values") / "everything.yaml")


@pytest.fixture
def minimal() -> list[Object]:
    """The objects of the chart's own values. Tests must not change them."""
    return rendered(Path(__file__).with_name("values") / "minimal.yaml")
