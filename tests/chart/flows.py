"""The connections that a release's network policies allow, between its pods and everything else."""

from __future__ import annotations

from itertools import product

from tests.chart.helm import NAMESPACE
from tests.chart.network import Endpoint, allowed
from tests.chart.objects import Object, pods, ports_of

PROMETHEUS = Endpoint({"app.kubernetes.io/name": "prometheus"}, "monitoring")
DNS = Endpoint({"k8s-app": "kube-dns"}, "kube-system")
STRANGER = Endpoint({"app": "stranger"}, "elsewhere")
NEIGHBOUR = Endpoint({"app": "neighbour"}, NAMESPACE)
WEB = Endpoint(address="93.184.215.14")
WEB6 = Endpoint(address="2606:2800:21f:cb07:6820:80da:af6b:8b2c")
METADATA = Endpoint(address="169.254.169.254")
NODE = Endpoint(address="10.0.0.7")


def endpoints(objects: list[Object]) -> dict[str, Endpoint]:
    ours = {pod.labels["app.kubernetes.io/component"]: Endpoint(pod.labels, NAMESPACE) for pod in pods(objects)}
    theirs = {"prometheus": PROMETHEUS, "dns": DNS, "stranger": STRANGER, "neighbour": NEIGHBOUR}
    return {**ours, **theirs, "web": WEB, "web6": WEB6, "metadata": METADATA, "node": NODE}


def flows(objects: list[Object]) -> set[tuple[str, str, int]]:
    """Every (source, target, port) that the policies allow and that begins or ends at one of our pods."""
    who = endpoints(objects)
    ours = {"frontend", "triton", "test"}
    ports = {53, 80, 443, 22, 6443, 8443, 9090, 10250}
    ports |= {number for pod in pods(objects) for number in ports_of(pod.spec["containers"]).values()}
    return {
        (source, target, port)
        for source, target, port in product(who, who, ports)
        if source != target and ours & {source, target} and allowed(objects, who[source], who[target], port)
    }


CLIENTS = {"prometheus", "dns", "stranger", "neighbour", "web", "web6", "metadata", "node"}
NEEDED = {
    *((client, "frontend", 8000) for client in CLIENTS),
    ("test", "frontend", 8000),
    ("frontend", "triton", 8011),
    ("prometheus", "triton", 8012),
    *((pod, "dns", 53) for pod in ("frontend", "triton", "test")),
    *(("frontend", web, port) for web in ("web", "web6") for port in (80, 443)),
    *(("triton", web, 443) for web in ("web", "web6")),  # the init container, for the weights
}
