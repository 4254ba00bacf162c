"""What tritonserver is told on its command line, wherever it runs. Needs the standard library alone."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

LIVE = "live"  # the configuration that Triton is started with: <model>/configs/live.pbtxt, else config.pbtxt
# Answers to images that were seen before, about 4 kB each: the last 2,000.
CACHE_BYTES = 8 << 20
EXIT_TIMEOUT_SECONDS = 8  # for requests under way when the server is asked to stop
# What changes a running server or lets it read this machine's memory. Inference, health, metadata, statistics and the
# models' configurations stay open: the frontend, perf_analyzer and Triton's other clients ask for them.
CONTROL_APIS = ("model-repository", "shared-memory", "trace", "logging")
CONTROL_HEADER = "birds-control-key"  # over gRPC the metadata is triton-grpc-protocol-birds-control-key


@dataclass(frozen=True)
class Ports:
    """Triton's three listeners."""

    http: int = 8010
    grpc: int = 8011
    metrics: int = 8012


def triton_arguments(repository: Path, models: Iterable[str], ports: Ports, address: str) -> list[str]:
    """Serve `models` of `repository`, listening on `address` alone."""
    return [
        f"--model-repository={repository}",
        # Models come and go by the control API.
        "--model-control-mode=explicit",
        *(f"--load-model={model}" for model in models),
        f"--model-config-name={LIVE}",
        f"--cache-config=local,size={CACHE_BYTES}",
        f"--exit-timeout-secs={EXIT_TIMEOUT_SECONDS}",
        f"--http-address={address}",
        f"--http-port={ports.http}",
        f"--grpc-address={address}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-address={address}",
        f"--metrics-port={ports.metrics}",
        *trace_arguments(os.environ),
    ]


def trace_arguments(environment: Mapping[str, str]) -> list[str]:
    """Export spans to where OpenTelemetry's variables say, for the requests that bring the context of a trace."""
    endpoint = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    url = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or (endpoint and f"{endpoint.rstrip('/')}/v1/traces")
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if not url or disabled or environment.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return []
    settings = [
        "mode=opentelemetry",
        f"opentelemetry,url={url}",
        "opentelemetry,resource=service.name=birds-triton",
        # Requests with a traceparent are traced whatever the rate; of the others, practically none.
        "rate=1000000000",
        "level=TIMESTAMPS",
    ]
    return [f"--trace-config={setting}" for setting in settings]


def restricting_arguments(key: str, open_apis: Collection[str] = ()) -> list[str]:
    """Answer the control endpoints, but for `open_apis`, only to who sends `key` in the header CONTROL_HEADER."""
    closed = ",".join(api for api in CONTROL_APIS if api not in open_apis)
    rule = f"{closed}:{CONTROL_HEADER}={key}"
    return [f"--http-restricted-api={rule}", f"--grpc-restricted-protocol={rule}"] if closed else []


def models_in(repository: Path) -> list[str]:
    """The models that are to be loaded, in a fixed order."""
    return [path.parent.name for path in sorted(repository.glob("*/config.pbtxt"))]
