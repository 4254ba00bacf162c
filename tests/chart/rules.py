"""Rules about the objects of a release that no schema checks. Each rule yields the problems that it finds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from frontend.inference import server_pool
from frontend.settings import Settings
from tests.chart.objects import (
    Object,
    matches,
    names_of,
    of_kind,
    pods,
    ports_of,
    quantity,
    secrets_and_configmaps,
)
from tools.triton import entrypoint
from tools.triton.arguments import EXIT_TIMEOUT_SECONDS
from tools.triton.settings import TritonSettings

Rule: TypeAlias = Callable[[Sequence[Object]], Iterator[str]]

_SETTINGS = {f"BIRDS_{name.upper()}" for kind in (Settings, TritonSettings) for name in kind.model_fields}
# Secrets that the value sets name: they exist before the release.
_OF_THE_OPERATOR = {"birds-keys", "birds-test-key", "keys-of-ours", "key-of-the-test", "bucket-credentials"}
DNS_CACHE_SECONDS = 30  # what CoreDNS caches at most, and kubeadm's default time to live
GRPC_AGE_JITTER = 1.1  # gRPC spreads the maximum age of connections by 10 % in either direction
_SCALERS = ("HorizontalPodAutoscaler", "ScaledObject")


def names_are_unique_and_short(objects: Sequence[Object]) -> Iterator[str]:
    counted = Counter((entry["apiVersion"], entry["kind"], entry["metadata"]["name"]) for entry in objects)
    for (_, kind, name), count in counted.items():
        if count > 1:
            yield f"{kind} {name} exists {count} times"
        if len(name) > 63 or not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name):
            yield f"{kind} {name} is not a DNS label"


def selectors_meet_their_pods(objects: Sequence[Object]) -> Iterator[str]:
    for pod in pods(of_kind(objects, "Deployment")):
        if not matches(pod.owner["spec"]["selector"]["matchLabels"], pod.labels):
            yield f"{pod.name} does not select its own pods"
        for spread in pod.spec.get("topologySpreadConstraints", []):
            if not matches(spread["labelSelector"]["matchLabels"], pod.labels):
                yield f"{pod.name} spreads pods that are not its own"
    for entry in of_kind(objects, "Service", "PodDisruptionBudget"):
        selector = entry["spec"]["selector"]
        selector = selector if entry["kind"] == "Service" else selector["matchLabels"]
        selected = [pod.name for pod in pods(objects) if matches(selector, pod.labels)]
        if len(selected) != 1:
            yield f"{entry['kind']} {entry['metadata']['name']} selects {selected or 'nothing'}"
    for policy in of_kind(objects, "NetworkPolicy"):
        if not any(matches(policy["spec"]["podSelector"].get("matchLabels"), pod.labels) for pod in pods(objects)):
            yield f"NetworkPolicy {policy['metadata']['name']} selects nothing"


def ports_are_declared(objects: Sequence[Object]) -> Iterator[str]:
    for pod in pods(objects):
        for container in pod.containers:
            for port in container.get("ports", []):
                if port.get("protocol") != "TCP":
                    yield f"{pod.name}: port {port['name']} does not say its protocol"
    for service in of_kind(objects, "Service"):
        for pod in pods(objects):
            if not matches(service["spec"]["selector"], pod.labels):
                continue
            for port in service["spec"]["ports"]:
                if port.get("protocol") != "TCP":
                    yield f"Service {service['metadata']['name']}: {port['name']} does not say its protocol"
                if port["targetPort"] not in ports_of(pod.spec["containers"]):
                    yield f"Service {service['metadata']['name']} leads to {port['targetPort']}, which nothing declares"
    yield from _scrapes(objects)


def _scrapes(objects: Sequence[Object]) -> Iterator[str]:
    for monitor in of_kind(objects, "ServiceMonitor"):
        name, selector = monitor["metadata"]["name"], monitor["spec"]["selector"]["matchLabels"]
        services = [s for s in of_kind(objects, "Service") if matches(selector, s["metadata"]["labels"])]
        if len(services) != 1:
            yield f"ServiceMonitor {name} meets {len(services)} Services"
        for service in services:
            offered = {port["name"] for port in service["spec"]["ports"]}
            for endpoint in monitor["spec"]["endpoints"]:
                if endpoint["port"] not in offered:
                    yield f"ServiceMonitor {name} scrapes {endpoint['port']}, which the Service does not have"


def probes_can_succeed(objects: Sequence[Object]) -> Iterator[str]:
    for pod in pods(of_kind(objects, "Deployment")):
        for container in pod.spec["containers"]:
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                where = f"{pod.name}: {kind} of {container['name']}"
                probe = container.get(kind)
                if not probe:
                    yield f"{where} is missing"
                elif "httpGet" in probe and probe["httpGet"]["port"] not in ports_of([container]):
                    yield f"{where} asks an undeclared port"
                elif "exec" in probe and not probe["exec"]["command"]:
                    yield f"{where} runs nothing"
            if container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] < 30:
                yield f"{pod.name} has no time to start"


def mounts_have_volumes(objects: Sequence[Object]) -> Iterator[str]:
    for pod in pods(objects):
        used = set()
        for container in pod.containers:
            paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
            if len(paths) != len(set(paths)):
                yield f"{pod.name}: {container['name']} mounts two volumes at one place"
            for mount in container.get("volumeMounts", []):
                used.add(mount["name"])
                if mount["name"] not in pod.volumes:
                    yield f"{pod.name}: {container['name']} mounts {mount['name']}, which is not a volume"
        yield from (f"{pod.name}: no container mounts {name}" for name in pod.volumes.keys() - used)


def references_exist(objects: Sequence[Object]) -> Iterator[str]:
    accounts = names_of(objects, "ServiceAccount")
    for pod in pods(objects):
        for kind, name in secrets_and_configmaps(pod):
            if name not in names_of(objects, kind) | _OF_THE_OPERATOR:
                yield f"{pod.name} needs the {kind} {name}, which does not exist"
        if pod.spec.get("serviceAccountName") not in accounts:
            yield f"{pod.name} runs as a ServiceAccount that does not exist"
    services = {service["metadata"]["name"]: service["spec"]["ports"] for service in of_kind(objects, "Service")}
    for entry in of_kind(objects, "Ingress", "HTTPRoute"):
        for name, port in _backends(entry):
            if port not in [offered[key] for offered in services.get(name, []) for key in ("name", "port")]:
                yield f"{entry['kind']} leads to {name}:{port}, which does not exist"


def _backends(entry: Object) -> Iterator[tuple[str, str | int]]:
    for rule in entry["spec"]["rules"]:
        if entry["kind"] == "HTTPRoute":
            yield from ((backend["name"], backend["port"]) for backend in rule["backendRefs"])
        else:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                yield service["name"], next(iter(service["port"].values()))


def scalers_can_scale(objects: Sequence[Object]) -> Iterator[str]:
    deployments = {pod.owner["metadata"]["name"]: pod for pod in pods(of_kind(objects, "Deployment"))}
    scaled = Counter(entry["spec"]["scaleTargetRef"]["name"] for entry in of_kind(objects, *_SCALERS))
    for name, pod in deployments.items():
        if scaled[name] > 1:
            yield f"{scaled[name]} scalers of {name} would fight"
        if scaled[name] and "replicas" in pod.owner["spec"]:
            yield f"every upgrade would set {name} back to {pod.owner['spec']['replicas']} replicas"
        if not scaled[name] and "replicas" not in pod.owner["spec"]:
            yield f"{name} has neither replicas nor a scaler"
    for entry in of_kind(objects, *_SCALERS):
        spec, name = entry["spec"], entry["metadata"]["name"]
        least, most = (spec.get(f"{end}Replicas", spec.get(f"{end}ReplicaCount")) for end in ("min", "max"))
        if not 1 <= least <= most:
            yield f"{name} scales from {least} to {most}"
        if spec["scaleTargetRef"]["name"] not in deployments:
            yield f"{name} scales nothing"
            continue
        by_cpu = any(metric["type"] == "Resource" for metric in spec.get("metrics", []))
        for container in deployments[spec["scaleTargetRef"]["name"]].spec["containers"] if by_cpu else ():
            if "cpu" not in container["resources"].get("requests", {}):
                yield f"{name} takes a percentage of a request that {container['name']} does not make"


def disruption_budgets_allow_a_drain(objects: Sequence[Object]) -> Iterator[str]:
    for pod in pods(of_kind(objects, "Deployment")):
        budgets = [
            budget["spec"]
            for budget in of_kind(objects, "PodDisruptionBudget")
            if matches(budget["spec"]["selector"]["matchLabels"], pod.labels)
        ]
        if len(budgets) != 1:
            yield f"{pod.name} has {len(budgets)} budgets"
        for budget in budgets:
            if "minAvailable" in budget or str(budget["maxUnavailable"]).rstrip("%") == "0":
                yield f"the budget of {pod.name} can hold up a drain for ever"


def resources_fit(objects: Sequence[Object]) -> Iterator[str]:
    for pod in pods(objects):
        for container in pod.containers:
            requests, limits = (container["resources"].get(key, {}) for key in ("requests", "limits"))
            if "memory" not in limits or "cpu" not in requests:
                yield f"{pod.name}: {container['name']} has no limit of memory, or asks for no CPU"
            for name in requests.keys() & limits.keys():
                if quantity(requests[name]) > quantity(limits[name]):
                    yield f"{pod.name}: {container['name']} asks for more {name} than it may have"
            for name in {*requests, *limits} - {"cpu", "memory"}:
                if limits.get(name) != requests.get(name, limits.get(name)):
                    yield f"{pod.name}: {container['name']} cannot share {name}"
            for mount in container.get("volumeMounts", []):
                volume = pod.volumes.get(mount["name"], {}).get("emptyDir", {})
                if volume.get("medium") != "Memory" or "memory" not in limits:
                    continue
                if not volume.get("sizeLimit") or 2 * quantity(volume["sizeLimit"]) >= quantity(limits["memory"]):
                    yield f"{pod.name}: {mount['mountPath']} may fill the memory of {container['name']}"


def triton_has_shared_memory(objects: Sequence[Object]) -> Iterator[str]:
    for pod in pods(of_kind(objects, "Deployment")):
        for container in pod.spec["containers"]:
            mounted = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
            if container["name"] == "triton":
                volume = pod.volumes.get(mounted.get("/dev/shm", ""), {})
                if volume.get("emptyDir", {}).get("medium") != "Memory":
                    yield f"{pod.name} has the container runtime's 64 MB of shared memory"


def environment_is_of_settings(objects: Sequence[Object]) -> Iterator[str]:
    for pod in pods(objects):
        for container in pod.containers:
            names = [variable["name"] for variable in container.get("env", [])]
            yield from (f"{pod.name}: {name} is set twice" for name, count in Counter(names).items() if count > 1)
            yield from (
                f"{pod.name}: {name} is not a setting"
                for name in names
                if name.startswith("BIRDS_") and name not in _SETTINGS
            )
        if pod.spec.get("enableServiceLinks", True):
            yield f"{pod.name}: a Service named birds would set BIRDS_PORT"


def pods_are_confined(objects: Sequence[Object]) -> Iterator[str]:
    for account in of_kind(objects, "ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"ServiceAccount {account['metadata']['name']} hands out a token"
    for pod in pods(objects):
        security = pod.spec.get("securityContext", {})
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield f"{pod.name} gets a token"
        if not security.get("runAsNonRoot") or not security.get("runAsUser"):
            yield f"{pod.name} may run as root"
        if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{pod.name} may use every system call"
        if any(pod.spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{pod.name} shares the machine's namespaces"
        yield from (f"{pod.name} mounts {name} of the machine" for name, v in pod.volumes.items() if "hostPath" in v)
        for container in pod.containers:
            own, where = container.get("securityContext", {}), f"{pod.name}: {container['name']}"
            if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
                yield f"{where} can gain privileges"
            if own.get("readOnlyRootFilesystem") is not True:
                yield f"{where} can write to its root"
            if own.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{where} keeps capabilities"


def images_are_pinned(objects: Sequence[Object]) -> Iterator[str]:
    for pod in pods(objects):
        for container in pod.containers:
            _, _, version = container["image"].rpartition("/")[2].partition(":")
            if version in ("", "latest"):
                yield f"{pod.name}: {container['image']} has no fixed version"


def there_is_time_to_stop(objects: Sequence[Object]) -> Iterator[str]:
    for pod in pods(of_kind(objects, "Deployment")):
        for container in pod.spec["containers"]:
            command = container["lifecycle"]["preStop"]["exec"]["command"]
            if command[0] != "sleep":
                yield f"{pod.name} does not wait before it stops"
            elif pod.spec["terminationGracePeriodSeconds"] <= int(command[1]) + EXIT_TIMEOUT_SECONDS:
                yield f"{pod.name} is killed before its requests are done"


def clients_learn_of_a_replacement_in_time(objects: Sequence[Object]) -> Iterator[str]:
    """Before a Triton stops serving, every client must have looked its name up after all DNS caches have expired."""
    for pod in pods(of_kind(objects, "Deployment")):
        for container in pod.spec["containers"]:
            if container["name"] != "triton":
                continue
            options = dict(argument.partition("=")[::2] for argument in container["args"])
            connection_seconds = int(options.get("--grpc-max-connection-age", 0)) / 1000 * GRPC_AGE_JITTER
            if not connection_seconds:
                yield f"{pod.name} never ends a connection, so gRPC clients never look its name up again"
            lookup_seconds = max(connection_seconds, server_pool._LOOKUP_SECONDS)
            command = container["lifecycle"]["preStop"]["exec"]["command"]
            if command[0] == "sleep" and int(command[1]) < DNS_CACHE_SECONDS + lookup_seconds:
                yield f"{pod.name} stops before all clients know its replacement"


def probes_outlast_a_restart_by_the_entrypoint(objects: Sequence[Object]) -> Iterator[str]:
    """The entrypoint replaces a dead stub in seconds, which no probe may interrupt or prolong."""
    for pod in pods(of_kind(objects, "Deployment")):
        for container in pod.spec["containers"]:
            if container["name"] != "triton":
                continue
            live, ready = container["livenessProbe"], container["readinessProbe"]
            # Until the entrypoint has marked the restart a probe may fail; after that `--live` succeeds.
            unmarked_seconds = entrypoint._LOST_CHECKS * (entrypoint._CHECK_SECONDS + entrypoint.READY_SECONDS)
            if "--live" not in live["exec"]["command"]:
                yield f"{pod.name}: the liveness probe fails while the entrypoint restarts Triton"
            if (live.get("failureThreshold", 3) - 1) * live["periodSeconds"] <= unmarked_seconds:
                yield f"{pod.name}: the liveness probe ends the container before the entrypoint acts"
            if ready["periodSeconds"] * ready.get("successThreshold", 1) > 5:
                yield f"{pod.name}: a Triton that was restarted waits longer for its probe than it took to start"


def a_rollout_loses_no_capacity(objects: Sequence[Object]) -> Iterator[str]:
    """Where there is no room for one more pod, the rollout must at least not stop all of them at once."""
    for deployment in of_kind(objects, "Deployment"):
        rolling = deployment["spec"]["strategy"]["rollingUpdate"]
        if rolling["maxUnavailable"] == 0 and rolling["maxSurge"] == 0:
            yield f"{deployment['metadata']['name']} can never be replaced"
        if str(rolling["maxUnavailable"]) == "100%" or deployment["spec"]["strategy"]["type"] != "RollingUpdate":
            yield f"{deployment['metadata']['name']} is away during every rollout"


RULES: tuple[Rule, ...] = (
    names_are_unique_and_short,
    selectors_meet_their_pods,
    ports_are_declared,
    probes_can_succeed,
    mounts_have_volumes,
    references_exist,
    scalers_can_scale,
    disruption_budgets_allow_a_drain,
    resources_fit,
    triton_has_shared_memory,
    environment_is_of_settings,
    pods_are_confined,
    images_are_pinned,
    there_is_time_to_stop,
    clients_learn_of_a_replacement_in_time,
    probes_outlast_a_restart_by_the_entrypoint,
    a_rollout_loses_no_capacity,
)
