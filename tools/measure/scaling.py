"""From the CPU time of an image to pods and dollars: the tables of docs/scaling.md.

The throughput of a step is cores divided by CPU time. Everything else is an assumption: a named constant below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tools.errors import ToolError
from tools.measure.bench.goals import Recorded, Speed
from tools.measure.markdown import table

RATES = (1, 10, 1_000, 100_000)
_TRITON_STEPS = ("preprocess", "classifier", "triton")
_FEWEST_PODS = 2  # with one, the service would be down while the pod is replaced

# What the benchmark cannot measure. Prices are in dollars, about what large clouds charge on demand.
_PEAK_USE = 0.7  # share of the capacity of Triton pods that is planned with; the rest is for bursts and a lost zone
_TRITON_CORES = 2
_FRONTEND_USE = 0.6  # share of the one core that an event loop can use
_FRONTEND_IMAGES = 64  # that one frontend processes concurrently
_IMAGE_SECONDS = 0.3  # 0.2 s of download from another network, 0.1 s in Triton's queues and steps
_CORE_HOUR = 0.04  # with 4 GB of memory, general purpose
_IMAGE_KILOBYTES = 300  # of a photo on a web page
_IMAGES_PER_REQUEST = 5
_BALANCER_REQUESTS = 20_000  # per second, through one HAProxy with two cores
_GATEWAY_GIGABITS = 50  # that one NAT gateway lets in
_CONNECTIONS = 1024  # gRPC, of one frontend: more Triton pods than that need several groups
# A GPU node. Not measured: no GPU was at hand.
_GPU_IMAGES = 3000  # per second, in the classifier alone, on a small inference GPU such as an L4
_GPU_HOUR = 0.60  # in addition to the node's cores
_GPU_CORES = 8  # of the node, which decode


@dataclass(frozen=True)
class Costs:
    """CPU milliseconds of an image in Triton and in a frontend, and the share of the cores in use at full load."""

    preprocess_ms: float
    classifier_ms: float
    triton_ms: float  # all of Triton, both steps included
    frontend_ms: float
    utilisation: float


@dataclass(frozen=True)
class Hardware:
    """The hardware for a rate of images. `limits` are the images per second that one of each part can do."""

    triton_pods: int
    frontend_pods: int
    cores: int
    gpus: int
    pod_images_per_second: float
    dollars_per_million: float
    limits: dict[str, float]


def costs_of(recorded: Recorded, speed: Speed) -> Costs:
    """The costs of one engine variant. Raises ToolError if the benchmark did not measure a step."""
    if missing := {*_TRITON_STEPS, "frontend"} - speed.cpu_ms.keys():
        raise ToolError(f"docs/performance.json has no CPU time of {', '.join(sorted(missing))} for {speed.variant}")
    busy_cores = speed.images_per_second * sum(speed.cpu_ms.values()) / 1000
    return Costs(
        preprocess_ms=speed.cpu_ms["preprocess"],
        classifier_ms=speed.cpu_ms["classifier"],
        triton_ms=sum(speed.cpu_ms[step] for step in _TRITON_STEPS),
        frontend_ms=speed.cpu_ms["frontend"],
        utilisation=min(busy_cores / recorded.cores, 1.0),
    )


def frontend_images_per_second(costs: Costs) -> float:
    """The throughput of one frontend, limited by its core or by its concurrent images (Little's law)."""
    return min(_FRONTEND_USE * 1000 / costs.frontend_ms, _FRONTEND_IMAGES / _IMAGE_SECONDS)


def hardware_for(rate: float, costs: Costs, gpu: bool = False) -> Hardware:
    """The hardware for `rate` images per second, on CPU or on GPU nodes."""
    cores, cpu_ms = (_GPU_CORES, costs.triton_ms - costs.classifier_ms) if gpu else (_TRITON_CORES, costs.triton_ms)
    by_cpu = cores * costs.utilisation * 1000 / cpu_ms
    pod = min(by_cpu, _GPU_IMAGES) if gpu else by_cpu
    frontend = frontend_images_per_second(costs)
    triton_pods = max(_FEWEST_PODS, math.ceil(rate / (pod * _PEAK_USE)))
    frontend_pods = max(_FEWEST_PODS, math.ceil(rate / frontend))
    all_cores, gpus = triton_pods * cores + frontend_pods, triton_pods * gpu
    limits = {
        "a Triton pod": pod * _PEAK_USE,
        "a frontend pod": frontend,
        "an HAProxy": float(_BALANCER_REQUESTS * _IMAGES_PER_REQUEST),
        "a NAT gateway's bandwidth": _GATEWAY_GIGABITS * 1e6 / (8 * _IMAGE_KILOBYTES),
        "Triton pods that one frontend can know": _CONNECTIONS * pod * _PEAK_USE,
    }
    dollars_an_hour = all_cores * _CORE_HOUR + gpus * _GPU_HOUR
    return Hardware(
        triton_pods=triton_pods,
        frontend_pods=frontend_pods,
        cores=all_cores,
        gpus=gpus,
        pod_images_per_second=pod,
        dollars_per_million=dollars_an_hour / (rate * 3600) * 1e6,
        limits=dict(sorted(limits.items(), key=lambda limit: limit[1])),
    )


def render(recorded: Recorded) -> str:
    """Both tables in Markdown: the costs of an image with each engine variant, and the hardware with the best one."""
    every = {speed.variant: costs_of(recorded, speed) for speed in recorded.speeds}
    if not every:
        raise ToolError("docs/performance.json has no CPU times: run birds bench, then birds bench --report")
    best = min(every, key=lambda variant: every[variant].triton_ms)
    steps = [
        [
            *(name, f"{c.preprocess_ms:.1f}", f"{c.classifier_ms:.1f}", f"{c.triton_ms:.1f}", f"{c.frontend_ms:.1f}"),
            *(f"{c.utilisation:.0%}", f"{c.utilisation * 1000 / c.triton_ms:.0f}"),
            f"{frontend_images_per_second(c):.0f}",
        ]
        for name, c in every.items()
    ]
    head = ["engine variant", "preprocess, ms", "classifier, ms", "all of Triton, ms", "frontend, ms"]
    head += ["use of the cores", "images/s per core of Triton", "images/s per frontend pod"]
    rows = [_row(rate, hardware_for(rate, every[best], gpu), gpu) for gpu in (False, True) for rate in RATES]
    columns = ["images/s", "nodes", "Triton pods", "frontend pods", "cores", "GPUs", "$ per million images"]
    columns += ["more than one needed of", "next limit"]
    return (
        f"### What an image costs\n\nRecorded {recorded.started} on {recorded.cores} cores of {recorded.cpu}.\n\n"
        f"{table([head, *steps])}\n\n### What a rate takes: {best}\n\n{table([columns, *rows])}\n"
    )


def _row(rate: float, found: Hardware, gpu: bool) -> list[str]:
    full = [name for name, limit in found.limits.items() if limit <= rate]
    following = next(((name, limit) for name, limit in found.limits.items() if limit > rate), None)
    return [
        *(f"{rate:,}", "GPU (not measured)" if gpu else "CPU", f"{found.triton_pods:,}", f"{found.frontend_pods:,}"),
        *(f"{found.cores:,}", f"{found.gpus:,}" if gpu else "—", f"{found.dollars_per_million:,.2f}"),
        ", ".join(full) or "—",
        f"{following[0]}, at {following[1]:,.0f}/s" if following else "—",
    ]
