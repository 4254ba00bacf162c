"""What is released: one version everywhere, a chart that packs completely, values for production with reasons."""

from __future__ import annotations

import tarfile
from pathlib import Path

import yaml

from frontend import VERSION
from tests.chart.conftest import PRODUCTION, rendered
from tests.chart.helm import CHART, helm
from tests.chart.objects import of_kind


def test_chart_and_application_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)


def test_packed_chart_renders_like_the_folder(tmp_path: Path) -> None:
    """Alerts and dashboards are links in the folder; the package needs their content."""
    helm("package", str(CHART), f"--destination={tmp_path}")
    package = tmp_path / f"birds-{VERSION}.tgz"
    options = ["--namespace=prod", f"--values={PRODUCTION}"]
    assert helm("template", "birds", str(package), *options) == helm("template", "birds", str(CHART), *options)
    with tarfile.open(package) as files:
        assert "birds/values-production.yaml" in files.getnames()


def test_production_values_each_have_a_reason() -> None:
    text = PRODUCTION.read_text(encoding="utf-8")
    for block in text.split("\n\n"):
        assert "#" in block, f"no reason is given for {block}"


def test_production_survives_the_loss_of_a_node() -> None:
    deployments = {entry["metadata"]["name"]: entry["spec"] for entry in of_kind(rendered(PRODUCTION), "Deployment")}
    (scaler,) = of_kind(rendered(PRODUCTION), "HorizontalPodAutoscaler")
    assert deployments["birds-triton"]["replicas"] >= 3
    assert scaler["spec"]["minReplicas"] >= 3
