"""Schemas of the custom resources: the fields that the chart uses, and no others.

They follow the documentation of the projects: KEDA 2.17, prometheus-operator v1, Gateway API v1.
"""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

from tests.chart.objects import Object


def _object(required: str, optional: str = "", **properties: Any) -> dict[str, Any]:
    named = {name: properties.get(name, {"type": "string"}) for name in (required + " " + optional).split()}
    return {"type": "object", "additionalProperties": False, "required": required.split(), "properties": named}


_STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
_COUNT = {"type": "integer", "minimum": 0}
_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
_DURATION = {"type": "string", "pattern": "^([0-9]+(h|m|s|ms))+$"}
_LABEL_SELECTOR = _object("matchLabels", matchLabels=_STRINGS)


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": items}


_POLICY = _object("type value periodSeconds", type={"enum": ["Pods", "Percent"]}, value=_COUNT, periodSeconds=_COUNT)
_SCALING = _object(
    "policies", "stabilizationWindowSeconds selectPolicy", policies=_list(_POLICY), stabilizationWindowSeconds=_COUNT
)
_TRIGGER = _object(
    "type metricType metadata",
    "authenticationRef",
    type={"const": "prometheus"},
    metricType={"enum": ["AverageValue", "Value"]},
    # KEDA accepts only strings here.
    metadata=_object("serverAddress query threshold", "ignoreNullValues"),
    authenticationRef=_object("name"),
)
_SCALED_OBJECT = _object(
    "scaleTargetRef minReplicaCount maxReplicaCount triggers",
    "pollingInterval cooldownPeriod fallback advanced",
    scaleTargetRef=_object("name", "apiVersion kind"),
    minReplicaCount=_COUNT,
    maxReplicaCount=_COUNT,
    pollingInterval=_COUNT,
    cooldownPeriod=_COUNT,
    fallback=_object(
        "failureThreshold replicas",
        "behavior",
        failureThreshold=_COUNT,
        replicas=_COUNT,
        behavior={"enum": ["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"]},
    ),
    advanced=_object(
        "horizontalPodAutoscalerConfig",
        horizontalPodAutoscalerConfig=_object(
            "behavior", behavior=_object("scaleUp scaleDown", scaleUp=_SCALING, scaleDown=_SCALING)
        ),
    ),
    triggers=_list(_TRIGGER),
)
_SERVICE_MONITOR = _object(
    "selector endpoints",
    "namespaceSelector",
    selector=_LABEL_SELECTOR,
    namespaceSelector=_object("matchNames", matchNames=_list({"type": "string"})),
    endpoints=_list(
        _object(
            "port",
            "path interval scrapeTimeout relabelings",
            interval=_DURATION,
            scrapeTimeout=_DURATION,
            relabelings=_list(_object("targetLabel replacement")),
        )
    ),
)
_RULE = _object(
    "expr",
    "alert record for labels annotations keep_firing_for",
    **{"for": _DURATION},
    labels=_STRINGS,
    annotations=_STRINGS,
)
_PROMETHEUS_RULE = _object(
    "groups", groups=_list(_object("name rules", "interval", rules=_list(_RULE), interval=_DURATION))
)
_HTTP_ROUTE = _object(
    "parentRefs rules",
    "hostnames",
    parentRefs=_list(_object("name", "namespace sectionName port", port=_PORT)),
    hostnames=_list({"type": "string"}),
    rules=_list(
        _object(
            "backendRefs",
            "matches timeouts",
            matches={
                **_list(_object("path", path=_object("type value", type={"enum": ["Exact", "PathPrefix"]}))),
                "maxItems": 8,  # until Gateway API 1.2
            },
            backendRefs=_list(_object("name port", port=_PORT)),
            timeouts=_object("request", request={"type": "string", "pattern": "^[0-9]{1,5}(h|m|s|ms)$"}),
        )
    ),
)
_SPECS = {
    ("keda.sh/v1alpha1", "ScaledObject"): _SCALED_OBJECT,
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _SERVICE_MONITOR,
    ("monitoring.coreos.com/v1", "PrometheusRule"): _PROMETHEUS_RULE,
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): _HTTP_ROUTE,
}
KINDS = {kind for _, kind in _SPECS}


def problems(entry: Object) -> list[str]:
    """What is wrong with an object of one of `KINDS`."""
    spec = _SPECS.get((entry["apiVersion"], entry["kind"]))
    if spec is None:
        return [f"{entry['kind']} of {entry['apiVersion']} is unknown"]
    whole = _object(
        "apiVersion kind metadata spec",
        metadata=_object("name labels", "annotations", labels=_STRINGS, annotations=_STRINGS),
        spec=spec,
    )
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(whole).iter_errors(entry)]
