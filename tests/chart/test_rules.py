"""The rules can fail: each change below breaks a release in a way that the schema accepts but the rule reports."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.chart import rules
from tests.chart.flows import NEEDED, flows
from tests.chart.objects import Object, of_kind, pods
from tests.chart.rules import RULES, Rule

Change = Callable[[list[Object]], Any]


def one(objects: list[Object], kind: str, ending: str = "") -> Object:
    return next(entry for entry in of_kind(objects, kind) if entry["metadata"]["name"].endswith(ending))


def spec(objects: list[Object], ending: str = "-triton") -> dict[str, Any]:
    found: dict[str, Any] = one(objects, "Deployment", ending)["spec"]["template"]["spec"]
    return found


def container(objects: list[Object], ending: str = "-triton") -> dict[str, Any]:
    found: dict[str, Any] = spec(objects, ending)["containers"][0]
    return found


CHANGES: list[tuple[Rule, Change]] = [
    (rules.names_are_unique_and_short, lambda o: o.append(one(o, "Service"))),
    (rules.names_are_unique_and_short, lambda o: one(o, "Service")["metadata"].update(name="x" * 64)),
    (
        rules.selectors_meet_their_pods,
        lambda o: one(o, "Deployment")["spec"]["selector"]["matchLabels"].update(tier="x"),
    ),
    (
        rules.selectors_meet_their_pods,
        lambda o: one(o, "Service")["spec"]["selector"].pop("app.kubernetes.io/component"),
    ),
    (rules.selectors_meet_their_pods, lambda o: one(o, "Service")["spec"]["selector"].update(tier="x")),
    (
        rules.selectors_meet_their_pods,
        lambda o: one(o, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].update(tier="x"),
    ),
    (
        rules.selectors_meet_their_pods,
        lambda o: one(o, "NetworkPolicy", "-triton")["spec"]["podSelector"]["matchLabels"].update(tier="x"),
    ),
    (
        rules.selectors_meet_their_pods,
        lambda o: spec(o)["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"].update(tier="x"),
    ),
    (rules.ports_are_declared, lambda o: one(o, "Service", "-headless")["spec"]["ports"][0].update(targetPort="grcp")),
    (rules.ports_are_declared, lambda o: one(o, "Service")["spec"]["ports"][0].pop("protocol")),
    (rules.ports_are_declared, lambda o: container(o)["ports"][0].pop("protocol")),
    (rules.ports_are_declared, lambda o: one(o, "ServiceMonitor")["spec"]["endpoints"][0].update(port="other")),
    (
        rules.ports_are_declared,
        lambda o: one(o, "ServiceMonitor")["spec"]["selector"]["matchLabels"].update({"birds/scrape": "x"}),
    ),
    (rules.probes_can_succeed, lambda o: container(o)["startupProbe"]["httpGet"].update(port="htpp")),
    (rules.probes_can_succeed, lambda o: container(o)["livenessProbe"]["exec"].update(command=[])),
    (rules.probes_can_succeed, lambda o: container(o, "-frontend").pop("readinessProbe")),
    (rules.probes_can_succeed, lambda o: container(o)["startupProbe"].update(failureThreshold=2)),
    (rules.mounts_have_volumes, lambda o: spec(o)["volumes"].pop()),
    (rules.mounts_have_volumes, lambda o: container(o)["volumeMounts"].pop(1)),
    (rules.mounts_have_volumes, lambda o: container(o)["volumeMounts"][0].update(mountPath="/tmp")),
    (rules.references_exist, lambda o: o.remove(one(o, "Secret"))),
    (rules.references_exist, lambda o: o.remove(one(o, "ServiceAccount"))),
    (rules.references_exist, lambda o: container(o).update(envFrom=[{"configMapRef": {"name": "settings"}}])),
    (
        rules.references_exist,
        lambda o: one(o, "HTTPRoute")["spec"]["rules"][0]["backendRefs"][0].update(port=8000),
    ),
    (rules.references_exist, lambda o: o.remove(one(o, "Service", "-frontend"))),
    (rules.scalers_can_scale, lambda o: one(o, "HorizontalPodAutoscaler")["spec"].update(maxReplicas=1)),
    (rules.scalers_can_scale, lambda o: one(o, "ScaledObject")["spec"].update(minReplicaCount=100)),
    (rules.scalers_can_scale, lambda o: one(o, "ScaledObject")["spec"]["scaleTargetRef"].update(name="x")),
    (rules.scalers_can_scale, lambda o: one(o, "Deployment")["spec"].update(replicas=2)),
    (rules.scalers_can_scale, lambda o: o.remove(one(o, "ScaledObject"))),
    (rules.scalers_can_scale, lambda o: container(o, "-frontend")["resources"]["requests"].pop("cpu")),
    (
        rules.disruption_budgets_allow_a_drain,
        lambda o: one(o, "PodDisruptionBudget")["spec"].update(minAvailable=2),
    ),
    (rules.disruption_budgets_allow_a_drain, lambda o: o.remove(one(o, "PodDisruptionBudget"))),
    (rules.resources_fit, lambda o: container(o)["resources"]["requests"].update(memory="64Gi")),
    (rules.resources_fit, lambda o: container(o)["resources"]["limits"].pop("memory")),
    (rules.resources_fit, lambda o: container(o)["resources"]["limits"].update(memory="900Mi")),
    (rules.resources_fit, lambda o: spec(o)["volumes"][-2]["emptyDir"].pop("sizeLimit")),
    (rules.triton_has_shared_memory, lambda o: spec(o)["volumes"][-2]["emptyDir"].pop("medium")),
    (
        rules.environment_is_of_settings,
        lambda o: container(o, "-frontend")["env"].append({"name": "BIRDS_MAX_IMAGE", "value": "1"}),
    ),
    (
        rules.environment_is_of_settings,
        lambda o: container(o, "-frontend")["env"].append({"name": "BIRDS_HOST", "value": "::"}),
    ),
    (rules.environment_is_of_settings, lambda o: spec(o).pop("enableServiceLinks")),
    (rules.pods_are_confined, lambda o: spec(o).pop("automountServiceAccountToken")),
    (rules.pods_are_confined, lambda o: spec(o)["securityContext"].update(runAsNonRoot=False)),
    (rules.pods_are_confined, lambda o: spec(o)["securityContext"].pop("seccompProfile")),
    (rules.pods_are_confined, lambda o: spec(o)["initContainers"][0]["securityContext"].pop("readOnlyRootFilesystem")),
    (rules.pods_are_confined, lambda o: container(o)["securityContext"].update(capabilities={"drop": ["NET_RAW"]})),
    (rules.pods_are_confined, lambda o: spec(o).update(hostNetwork=True)),
    (rules.images_are_pinned, lambda o: container(o).update(image="registry.example.org:5000/birds/triton")),
    (rules.images_are_pinned, lambda o: container(o).update(image="birds/triton:latest")),
    (rules.there_is_time_to_stop, lambda o: spec(o).update(terminationGracePeriodSeconds=63)),
    (
        rules.there_is_time_to_stop,
        lambda o: container(o)["lifecycle"]["preStop"]["exec"].update(command=["true"]),
    ),
    (
        rules.clients_learn_of_a_replacement_in_time,
        lambda o: container(o)["lifecycle"]["preStop"]["exec"].update(command=["sleep", "46"]),
    ),
    (
        rules.clients_learn_of_a_replacement_in_time,
        lambda o: container(o)["args"].append("--grpc-max-connection-age=60000"),
    ),
    (rules.clients_learn_of_a_replacement_in_time, lambda o: container(o)["args"].clear()),
    (
        rules.probes_outlast_a_restart_by_the_entrypoint,
        lambda o: container(o)["livenessProbe"]["exec"]["command"].remove("--live"),
    ),
    (
        rules.probes_outlast_a_restart_by_the_entrypoint,
        lambda o: container(o)["livenessProbe"].update(failureThreshold=1),
    ),
    (
        rules.probes_outlast_a_restart_by_the_entrypoint,
        lambda o: container(o)["readinessProbe"].update(periodSeconds=10),
    ),
    (
        rules.a_rollout_loses_no_capacity,
        lambda o: one(o, "Deployment")["spec"]["strategy"]["rollingUpdate"].update(maxUnavailable="100%"),
    ),
]


@pytest.mark.parametrize(
    ("rule", "change"), CHANGES, ids=[f"{n}-{rule.__name__}" for n, (rule, _) in enumerate(CHANGES)]
)
def test_a_broken_release_breaks_its_rule(everything: list[Object], rule: Rule, change: Change) -> None:
    broken = copy.deepcopy(everything)
    change(broken)
    assert list(rule(broken)) != []


def test_every_rule_has_a_failing_case() -> None:
    assert {rule for rule, _ in CHANGES} == set(RULES)


def _drop(name: str) -> Change:
    return lambda objects: objects.remove(one(objects, "NetworkPolicy", name))


NETWORK_CHANGES: dict[str, Change] = {
    "no default": _drop("-default-deny"),
    "no policy for triton": _drop("-triton"),
    "no way to triton": lambda o: one(o, "NetworkPolicy", "-frontend")["spec"]["egress"].pop(1),
    "another port": lambda o: one(o, "NetworkPolicy", "-triton")["spec"]["ingress"][0]["ports"][0].update(port=8010),
    "metadata service": lambda o: one(o, "NetworkPolicy", "-frontend")["spec"]["egress"][2]["to"][0]["ipBlock"][
        "except"
    ].remove("169.254.0.0/16"),
    "anybody to triton": lambda o: one(o, "NetworkPolicy", "-triton")["spec"]["ingress"][0].pop("from"),
}


@pytest.mark.parametrize("change", NETWORK_CHANGES.values(), ids=NETWORK_CHANGES)
def test_a_hole_in_the_network_is_noticed(minimal: list[Object], change: Change) -> None:
    broken = copy.deepcopy(minimal)
    change(broken)
    assert flows(broken) != NEEDED


def test_unchanged_release_breaks_no_rule(everything: list[Object]) -> None:
    assert [problem for rule in RULES for problem in rule(everything)] == []
    assert pods(everything)
