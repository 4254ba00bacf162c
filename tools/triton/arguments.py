"""The command line of tritonserver, wherever it runs. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

LIVE = "live"  # the configuration that Triton is started with: <model>/configs/live.pbtxt, else config.pbtxt
EXIT_TIMEOUT_SECONDS = 8  # for the requests in progress when the server stops
# The APIs that change a running server or let it read this machine's memory. Inference, health, metadata, statistics
# and model configurations stay open, because the frontend, perf_analyzer and Triton's other clients need them.
CONTROL_APIS = ("model-repository", "shared-memory", "trace", "logging")
SHARED_MEMORY, REGION_KIND = Path("/dev/shm"), "triton_birds_"  # where the regions of the stubs are, and their names
CONTROL_HEADER = "birds-control-key"  # over gRPC the metadata is triton-grpc-protocol-birds-control-key


@dataclass(frozen=True)
class Ports:
    """Triton's three listeners."""

    http: int = 8010
    grpc: int = 8011
    metrics: int = 8012


def triton_arguments(repository: Path, models: Iterable[str], ports: Ports, address: str) -> list[str]:
    """Return the arguments for a Triton that serves `models` of `repository` on `address` only."""
    return [
        f"--model-repository={repository}",
        "--model-control-mode=explicit",  # models are loaded and unloaded by the control API
        *(f"--load-model={model}" for model in models),
        f"--model-config-name={LIVE}",
        f"--exit-timeout-secs={EXIT_TIMEOUT_SECONDS}",
        f"--http-address={address}",
        f"--http-port={ports.http}",
        f"--grpc-address={address}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-address={address}",
        f"--metrics-port={ports.metrics}",
        *trace_arguments(os.environ),
    ]


def region_arguments(prefix: str) -> list[str]:
    """Return the arguments for stubs whose regions of shared memory have names that begin with `prefix`."""
    return [f"--backend-config={backend},shm-region-prefix-name={prefix}" for backend in ("python", "tensorflow")]


def trace_arguments(environment: Mapping[str, str]) -> list[str]:
    """Return arguments to export spans as OpenTelemetry's variables say, for requests with a trace context."""
    endpoint = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    url = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or (endpoint and f"{endpoint.rstrip('/')}/v1/traces")
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if not url or disabled or environment.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return []
    settings = [
        "mode=opentelemetry",
        f"opentelemetry,url={url}",
        "opentelemetry,resource=service.name=birds-triton",
        # Requests with a traceparent are always traced; of the others, practically none.
        "rate=1000000000",
        "level=TIMESTAMPS",
    ]
    return [f"--trace-config={setting}" for setting in settings]


def restricting_arguments(key: str, open_apis: Collection[str] = ()) -> list[str]:
    """Return arguments that close the control APIs, except `open_apis`, to requests without `key` in CONTROL_HEADER."""
    closed = ",".join(api for api in CONTROL_APIS if api not in open_apis)
    rule = f"{closed}:{CONTROL_HEADER}={key}"
    return [f"--http-restricted-api={rule}", f"--grpc-restricted-protocol={rule}"] if closed else []


def models_in(repository: Path) -> list[str]:
    """Return the names of the models to load, sorted."""
    return [path.parent.name for path in sorted(repository.glob("*/config.pbtxt"))]
