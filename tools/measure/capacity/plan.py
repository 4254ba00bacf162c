"""From a rate of images to pods, money, and what gives way next.

Throughput of a step is cores by CPU time an image; everything else is an assumption with a name, in one place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tools.measure.capacity.costs import TRITON_STEPS, Costs

# Below these a release would be away while one pod is replaced.
_FEWEST_PODS = 2


@dataclass(frozen=True)
class Assumptions:
    """What the benchmark cannot know. Prices in dollars; the defaults are of the size that large clouds charge."""

    peak_use: float = 0.7  # of what pods can do at most: the rest is for bursts, a lost zone, and short queues
    triton_cores: int = 2  # of a pod
    frontend_use: float = 0.6  # of the one core that an event loop has
    frontend_places: int = 64  # images of URLs at once, of one frontend
    core_hour: float = 0.04  # with 4 GB of memory; on demand, general purpose
    image_kilobytes: float = 300.0  # of a photo on a web page
    download_seconds: float = 0.2  # from another network
    inference_seconds: float = 0.1  # in queues and steps, at that use
    images_per_request: int = 5
    gigabyte_in: float = 0.0  # a NAT gateway that charges for it: 0.045
    balancer_requests: float = 20_000.0  # a second, that one HAProxy passes on with two cores
    gateway_gigabits: float = 50.0  # that one NAT gateway lets in
    connections: float = 1024.0  # gRPC, of one frontend: more Triton pods than that are no longer one group
    # A GPU node. Not measured: no GPU was at hand.
    gpu_images: float = 3000.0  # a second, of the classifier alone, on a small inference GPU such as an L4
    gpu_hour: float = 0.60  # beside the node's cores
    gpu_cores: int = 8  # of the node, which decode


@dataclass(frozen=True)
class Ceiling:
    """A part that there is one of, or that cannot grow with the rest: at how many images a second it is full."""

    name: str
    images_per_second: float


@dataclass(frozen=True)
class Plan:
    """What serves `rate` images a second. `bound_by` is what a Triton pod runs out of first."""

    rate: float
    gpu: bool
    triton_pods: int
    frontend_pods: int
    cores: float
    gpus: int
    pod_images_per_second: float
    bound_by: str
    dollars_per_million: float
    gigabits_per_second: float
    ceilings: tuple[Ceiling, ...]

    @property
    def exceeded(self) -> list[Ceiling]:
        """What is full already, and has to be there several times."""
        return [ceiling for ceiling in self.ceilings if ceiling.images_per_second <= self.rate]

    @property
    def next(self) -> Ceiling | None:
        """What is full first when the rate grows; None if nothing of what is looked at is left."""
        return next((ceiling for ceiling in self.ceilings if ceiling.images_per_second > self.rate), None)


def plan(rate: float, costs: Costs, assumptions: Assumptions, gpu: bool = False) -> Plan:
    """What `rate` images a second take. Raises ValueError for a rate that is not positive."""
    if not rate > 0:
        raise ValueError(f"a rate of {rate} images a second is not positive")
    pod_cores = assumptions.gpu_cores if gpu else assumptions.triton_cores
    pod, bound_by = _triton_pod(costs, assumptions, gpu)
    triton_pods = max(_FEWEST_PODS, math.ceil(rate / (pod * assumptions.peak_use)))
    one_frontend = frontend_pod(costs, assumptions)
    frontend_pods = max(_FEWEST_PODS, math.ceil(rate / one_frontend))
    cores = triton_pods * pod_cores + frontend_pods
    gpus = triton_pods if gpu else 0
    bits = 8000 * assumptions.image_kilobytes
    hourly = cores * assumptions.core_hour + gpus * assumptions.gpu_hour
    gigabytes = assumptions.image_kilobytes  # a million files of so many kB
    # One frontend sees every Triton pod: a cell ends where those are too many for it.
    cell = assumptions.connections * pod * assumptions.peak_use
    ceilings = [
        Ceiling("a Triton pod", pod * assumptions.peak_use),
        Ceiling("a frontend pod", one_frontend),
        Ceiling("an HAProxy", assumptions.balancer_requests * assumptions.images_per_request),
        Ceiling("a NAT gateway's bandwidth", assumptions.gateway_gigabits * 1e9 / bits),
        Ceiling("Triton pods that one frontend can know", cell),
    ]
    return Plan(
        rate=rate,
        gpu=gpu,
        triton_pods=triton_pods,
        frontend_pods=frontend_pods,
        cores=cores,
        gpus=gpus,
        pod_images_per_second=pod,
        bound_by=bound_by,
        dollars_per_million=hourly / (rate * 3600) * 1e6 + gigabytes * assumptions.gigabyte_in,
        gigabits_per_second=rate * bits / 1e9,
        ceilings=tuple(sorted(ceilings, key=lambda ceiling: ceiling.images_per_second)),
    )


def frontend_pod(costs: Costs, assumptions: Assumptions) -> float:
    """Images a second of one frontend: what its core does, or what fits into its places at once (Little's law)."""
    by_cpu = assumptions.frontend_use * 1000 / costs.frontend_ms
    by_places = assumptions.frontend_places / (assumptions.download_seconds + assumptions.inference_seconds)
    return min(by_cpu, by_places)


def _triton_pod(costs: Costs, assumptions: Assumptions, gpu: bool) -> tuple[float, str]:
    """(images a second at full load, the largest part of it)."""
    largest = max(TRITON_STEPS, key=lambda step: costs.cpu_ms[step])
    if not gpu:
        share = costs.cpu_ms[largest] / costs.triton_ms
        return (
            costs.images_per_second(assumptions.triton_cores, costs.triton_ms),
            f"CPU: {largest} {share:.0%}",
        )
    on_cpu = costs.triton_ms - costs.cpu_ms["classifier"]
    by_cpu = costs.images_per_second(assumptions.gpu_cores, on_cpu)
    if by_cpu < assumptions.gpu_images:
        return by_cpu, f"CPU: preprocess {costs.cpu_ms['preprocess'] / on_cpu:.0%}"
    return assumptions.gpu_images, "GPU"
