"""Reads rendered objects: pods and what refers to them, quantities, labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Object: TypeAlias = dict[str, Any]

_UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_UNITS |= {unit + "i": 1024**power for power, unit in enumerate("KMGT", start=1)}


@dataclass(frozen=True)
class Pod:
    """A pod, or the pod template of a Deployment, with the object that owns it."""

    owner: Object
    labels: Mapping[str, str]
    spec: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.owner['kind']} {self.owner['metadata']['name']}"

    @property
    def containers(self) -> list[Object]:
        """In the order in which they start."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def volumes(self) -> dict[str, Object]:
        return {volume["name"]: volume for volume in self.spec.get("volumes", [])}


def of_kind(objects: Iterable[Object], *kinds: str) -> list[Object]:
    return [entry for entry in objects if entry["kind"] in kinds]


def names_of(objects: Iterable[Object], *kinds: str) -> set[str]:
    return {entry["metadata"]["name"] for entry in of_kind(objects, *kinds)}


def pods(objects: Iterable[Object]) -> list[Pod]:
    found = []
    for entry in objects:
        if entry["kind"] == "Deployment":
            template = entry["spec"]["template"]
            found.append(Pod(entry, template["metadata"]["labels"], template["spec"]))
        if entry["kind"] == "Pod":
            found.append(Pod(entry, entry["metadata"]["labels"], entry["spec"]))
    return found


def matches(selector: Mapping[str, str] | None, labels: Mapping[str, str]) -> bool:
    """Whether a plain selector, or the matchLabels of one, is met by `labels`."""
    return all(labels.get(name) == value for name, value in (selector or {}).items())


def quantity(value: str | int | float) -> float:
    """500m, 2, 3Gi as a number. Raises ValueError for a text that is not a quantity of Kubernetes."""
    match = re.fullmatch(r"([0-9.]+)(m|k|[KMGT]i?)?", str(value))
    if not match:
        raise ValueError(f"{value} is not a quantity")
    return float(match[1]) * _UNITS[match[2] or ""]


def ports_of(containers: Iterable[Object]) -> dict[str | int, int]:
    """Declared ports, by name and by number."""
    declared = [port for container in containers for port in container.get("ports", [])]
    return {key: port["containerPort"] for port in declared for key in (port["name"], port["containerPort"])}


def secrets_and_configmaps(pod: Pod) -> Iterator[tuple[str, str]]:
    """Yield (kind, name) of each Secret and ConfigMap that the pod needs to start."""
    for volume in pod.volumes.values():
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
    for container in pod.containers:
        for source in container.get("envFrom", []):
            yield from (
                (kind, source[key]["name"])
                for key, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap"))
                if key in source
            )
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            if "secretKeyRef" in source:
                yield "Secret", source["secretKeyRef"]["name"]
            if "configMapKeyRef" in source:
                yield "ConfigMap", source["configMapKeyRef"]["name"]
