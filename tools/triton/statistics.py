"""Triton's own counts and times for each model, and the difference between two readings."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import tritonclient.grpc

from tools.triton import direct_grpc


@dataclass(frozen=True)
class ModelStatistics:
    """Totals since the model was loaded. Times are sums over requests: a batch of four counts four times."""

    inferences: int = 0
    executions: int = 0
    requests: int = 0
    cache_hits: int = 0
    total_ns: int = 0
    queue_ns: int = 0
    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0

    def __add__(self, other: ModelStatistics) -> ModelStatistics:
        mine, theirs = asdict(self), asdict(other)
        return ModelStatistics(**{name: mine[name] + theirs[name] for name in mine})

    def __sub__(self, other: ModelStatistics) -> ModelStatistics:
        mine, theirs = asdict(self), asdict(other)
        return ModelStatistics(**{name: mine[name] - theirs[name] for name in mine})

    @property
    def batch_size(self) -> float:
        """Return the mean number of images per execution."""
        return self.inferences / self.executions if self.executions else 0.0

    def per_request_ms(self, name: str) -> float:
        """Return the mean milliseconds that a request spent in `total`, `queue`, `input`, `infer` or `output`."""
        return float(getattr(self, f"{name}_ns")) / self.requests / 1e6 if self.requests else 0.0


_SETTLING_SECONDS = 0.1
_LONGEST_SETTLING_SECONDS = 2

Statistics = Mapping[str, ModelStatistics]


def read_statistics(grpc_url: str) -> Statistics:
    """Return the totals of every loaded model, over all its versions.

    Triton counts a request shortly after its answer, so this waits until the totals stop changing.
    """
    deadline = time.monotonic() + _LONGEST_SETTLING_SECONDS
    with direct_grpc.connect(grpc_url) as client:
        totals = _totals(client)
        while time.monotonic() < deadline:
            time.sleep(_SETTLING_SECONDS)
            if (again := _totals(client)) == totals:
                break
            totals = again
    return totals


def _totals(client: tritonclient.grpc.InferenceServerClient) -> dict[str, ModelStatistics]:
    totals: dict[str, ModelStatistics] = {}
    for entry in client.get_inference_statistics().model_stats:
        stats = entry.inference_stats
        version = ModelStatistics(
            inferences=entry.inference_count,
            executions=entry.execution_count,
            requests=stats.success.count,
            cache_hits=stats.cache_hit.count,
            total_ns=stats.success.ns,
            queue_ns=stats.queue.ns,
            input_ns=stats.compute_input.ns,
            infer_ns=stats.compute_infer.ns,
            output_ns=stats.compute_output.ns,
        )
        totals[entry.name] = totals.get(entry.name, ModelStatistics()) + version
    return totals


def between(before: Statistics, after: Statistics) -> Statistics:
    """Return what each model did between two readings; models without requests are left out."""
    differences = {name: after[name] - before.get(name, ModelStatistics()) for name in after}
    return {name: difference for name, difference in differences.items() if difference.requests}
