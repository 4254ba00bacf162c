"""The programs that the containers run exist in the images and accept their arguments."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.conftest import VALUE_SETS, rendered
from tests.chart.objects import Object, of_kind, pods
from tools import ROOT
from tools.cli.main import main
from tools.models import prepare_repository

DOCKERFILE = (ROOT / "Dockerfile.triton").read_text(encoding="utf-8")


def triton_pod(objects: list[Object]) -> Object:
    (pod,) = [pod for pod in pods(objects) if pod.name.endswith("-triton")]
    return dict(pod.spec)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Object], tuple[Any, ...]]:
    """Run a container's command up to `prepare_repository`, and return the arguments of that call."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(prepare_repository, "prepare_repository", lambda *arguments: calls.append(arguments))

    def run(container: Object) -> tuple[Any, ...]:
        assert container["command"][0] == "birds"
        assert main([*container["command"][1:], *(container.get("args") or [])]) == 0
        return calls.pop()

    return run


def test_init_container_command_is_valid(objects: list[Object], asked: Callable[[Object], tuple[Any, ...]]) -> None:
    container = triton_pod(objects)["initContainers"][-1]
    directory, _, versions, _ = asked(container)
    mounted = {Path(mount["mountPath"]) for mount in container["volumeMounts"]}
    assert directory in mounted
    assert versions is None or versions in mounted


@pytest.mark.parametrize(
    ("values", "source", "versions", "default"),
    [("minimal", None, None, None), ("volume", None, Path("/versions"), 3), ("everything", None, Path("/versions"), 2)],
)
def test_models_come_from_the_configured_source(
    values: str,
    source: str | None,
    versions: Path | None,
    default: int | None,
    asked: Callable[[Object], tuple[Any, ...]],
) -> None:
    (path,) = [path for path in VALUE_SETS if path.stem == values]
    container = triton_pod(rendered(path))["initContainers"][-1]
    assert asked(container)[1:] == (source, versions, default)


def test_probes_run_the_program_in_the_image(minimal: list[Object]) -> None:
    triton = triton_pod(minimal)["containers"][0]
    probe = ["python3", "-m", "tools.triton.probe"]
    assert triton["readinessProbe"]["exec"]["command"] == probe
    assert triton["livenessProbe"]["exec"]["command"] == [*probe, "--live"]
    assert "tools/triton/probe.py" in DOCKERFILE


def test_probe_timeouts_cover_all_attempts(minimal: list[Object]) -> None:
    text = (ROOT / "tools" / "triton" / "probe.py").read_text(encoding="utf-8")
    attempts, timeout, pause = (
        int(re.findall(rf"^_{name} = (\d+)", text, re.MULTILINE)[0])
        for name in ("ATTEMPTS", "TIMEOUT_SECONDS", "PAUSE_SECONDS")
    )
    triton = triton_pod(minimal)["containers"][0]
    for kind in ("readinessProbe", "livenessProbe"):
        assert triton[kind]["timeoutSeconds"] > attempts * timeout + (attempts - 1) * pause


def test_alerts_and_dashboard_match_those_in_deploy(everything: list[Object]) -> None:
    (rule,) = of_kind(everything, "PrometheusRule")
    alerts = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    assert rule["spec"] == yaml.safe_load(alerts)
    (dashboards,) = [entry for entry in of_kind(everything, "ConfigMap") if "birds.json" in entry["data"]]
    dashboard = ROOT / "deploy" / "grafana" / "dashboards" / "birds.json"
    assert dashboards["data"]["birds.json"].strip() == dashboard.read_text(encoding="utf-8").strip()


def test_alerts_use_the_job_names_of_monitors(everything: list[Object]) -> None:
    alerts = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    given = {
        relabeling["replacement"]
        for monitor in of_kind(everything, "ServiceMonitor")
        for endpoint in monitor["spec"]["endpoints"]
        for relabeling in endpoint["relabelings"]
    }
    asked = {name for names in re.findall(r'job=~?"([^"]+)"', alerts) for name in names.split("|")}
    assert asked - {"haproxy"} == given
