"""An upgrade keeps the replicas that an autoscaler chose, and every deadline follows startSeconds."""

from __future__ import annotations

import pytest
import yaml

from tests.chart.helm import CHART, NAMESPACE, RELEASE, helm, render
from tests.chart.objects import Object, of_kind
from tests.support.kubernetes_api import kubernetes_api

AUTOSCALING = {"birds-frontend": "frontend.autoscaling.enabled=true", "birds-triton": "triton.autoscaling.by=keda"}


def deployments(objects: list[Object]) -> dict[str, Object]:
    return {found["metadata"]["name"]: found for found in of_kind(objects, "Deployment")}


def test_turning_autoscaling_on_keeps_the_replicas() -> None:
    """Without the field Kubernetes would scale the Deployment down to 1 until the autoscaler acts."""
    command = ("template", RELEASE, str(CHART), f"--namespace={NAMESPACE}", "--dry-run=server")
    setting = f"--set={AUTOSCALING['birds-frontend']}"
    with kubernetes_api({"birds-frontend": 5}, NAMESPACE, RELEASE) as url:
        text = helm(*command, "--disable-openapi-validation", f"--kube-apiserver={url}", setting)
    rendered = deployments([found for found in yaml.safe_load_all(text) if found])
    assert rendered["birds-frontend"]["spec"]["replicas"] == 5


@pytest.mark.parametrize("name", AUTOSCALING)
def test_new_autoscaled_deployment_has_no_replicas(name: str) -> None:
    assert "replicas" not in deployments(render(None, AUTOSCALING[name]))[name]["spec"]


def test_every_deadline_follows_the_start_time() -> None:
    for deployment in deployments(render(None, "triton.startSeconds=1800")).values():
        probe = deployment["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
        assert deployment["spec"]["progressDeadlineSeconds"] > 1800
        assert probe["failureThreshold"] * probe["periodSeconds"] >= 1800
