"""Decides whether a release's NetworkPolicies allow a connection, as Kubernetes specifies it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from tests.chart.helm import NAMESPACE
from tests.chart.objects import Object, matches, of_kind


@dataclass(frozen=True)
class Endpoint:
    """A pod, by its labels and the name of its namespace, or a host outside, by its address."""

    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str | None = None
    address: str | None = None


def allowed(objects: Sequence[Object], source: Endpoint, target: Endpoint, port: int, protocol: str = "TCP") -> bool:
    """Whether `source` can connect to `target`: its egress and the target's ingress must both allow it."""
    return _lets_pass(objects, "Egress", source, target, port, protocol) and _lets_pass(
        objects, "Ingress", target, source, port, protocol
    )


def _lets_pass(
    objects: Sequence[Object], direction: str, pod: Endpoint, other: Endpoint, port: int, protocol: str
) -> bool:
    """A pod that no policy of this direction selects is open. For other pods one policy must allow the connection."""
    if pod.namespace != NAMESPACE:
        return True
    policies = [
        policy["spec"]
        for policy in of_kind(objects, "NetworkPolicy")
        if direction in policy["spec"]["policyTypes"]
        and matches(policy["spec"]["podSelector"].get("matchLabels"), pod.labels)
    ]
    rules = [rule for policy in policies for rule in policy.get(direction.lower(), [])]
    return not policies or any(_applies(rule, direction, other, port, protocol) for rule in rules)


def _applies(rule: Object, direction: str, other: Endpoint, port: int, protocol: str) -> bool:
    if "ports" in rule and {"port": port, "protocol": protocol} not in rule["ports"]:
        return False
    peers = rule.get("to" if direction == "Egress" else "from")
    return peers is None or any(_is(peer, other) for peer in peers)


def _is(peer: Object, other: Endpoint) -> bool:
    if "ipBlock" in peer:
        if other.address is None:
            return False
        ip, block = ip_address(other.address), peer["ipBlock"]
        inside = ip in ip_network(block["cidr"])
        return inside and not any(ip in ip_network(excepted) for excepted in block.get("except", []))
    if other.namespace is None:
        return False
    if "namespaceSelector" in peer:
        name = {"kubernetes.io/metadata.name": other.namespace}
        if not matches(peer["namespaceSelector"].get("matchLabels"), name):
            return False
    elif other.namespace != NAMESPACE:
        return False
    return matches(peer.get("podSelector", {}).get("matchLabels"), other.labels)


def internet_blocks(objects: Sequence[Object], policy_name: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (network, exceptions) for every block to which a policy allows egress."""
    for policy in of_kind(objects, "NetworkPolicy"):
        if policy["metadata"]["name"] == policy_name:
            for rule in policy["spec"].get("egress", []):
                for peer in rule.get("to", []):
                    if "ipBlock" in peer:
                        yield peer["ipBlock"]["cidr"], peer["ipBlock"].get("except", [])
