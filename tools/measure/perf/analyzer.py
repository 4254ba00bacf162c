"""One run of perf_analyzer at one load, with Triton's own statistics for the same period."""

from __future__ import annotations

import csv
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tools.errors import ToolError
from tools.measure.perf.binary import PerfAnalyzer
from tools.triton.direct_http import environment_without_proxies
from tools.triton.statistics import ModelStatistics, Statistics, between, read_statistics

Protocol = Literal["http", "grpc"]
SharedMemory = Literal["none", "system"]
LoadKind = Literal["concurrency", "request_rate"]

_WINDOWS = 3  # perf_analyzer averages over its last three windows, so three are measured
_SHORTEST_WINDOW_MS = 500  # perf_analyzer fails if no request ends in a window
_ANY_DEVIATION = 999  # percent, so that it never measures longer to get steadier figures
_OUTPUT_BYTES = 1 << 18  # room in shared memory for the largest output; 224x224 pixels take 150,528
_RANGE = {"concurrency": "--concurrency-range", "request_rate": "--request-rate-range"}
_START_SECONDS = 120  # for reading the input data, warming up and the last answers


class PerfAnalyzerFailed(ToolError):
    """perf_analyzer ended without a measurement; the text has its reason."""


@dataclass(frozen=True)
class Load:
    """What is sent: to which model, how, and how much (concurrent requests, or requests per second)."""

    model: str
    kind: LoadKind
    level: int
    protocol: Protocol = "grpc"
    shared_memory: SharedMemory = "none"


@dataclass(frozen=True)
class Measurement:
    """The result of a load: latencies as the client saw them, `statistics` by model with the ensemble's steps."""

    load: Load
    images_per_second: float
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    statistics: Statistics

    @property
    def cached_share(self) -> float:
        """The share of the requests that Triton answered from its response cache."""
        requests = self.statistics.get(self.load.model, ModelStatistics()).requests
        hits = sum(step.cache_hits for step in self.statistics.values())
        return min(hits / requests, 1.0) if requests else 0.0


@dataclass(frozen=True)
class Server:
    """The addresses of a Triton, each as host:port."""

    http: str
    grpc: str


def analyze(program: PerfAnalyzer, server: Server, load: Load, input_data: Path, seconds: float) -> Measurement:
    """Run `load` for about `seconds`, at least 1.5. Raises PerfAnalyzerFailed."""
    before = read_statistics(server.grpc)
    with tempfile.TemporaryDirectory(prefix="birds-perf-") as name:
        table = Path(name) / "table.csv"
        _run(program, _arguments(server, load, input_data, seconds, table), seconds)
        row = _only_row(table)
    after = read_statistics(server.grpc)
    # perf_analyzer reports microseconds.
    latencies = {f"{name}_ms": float(row[f"{name} latency"]) / 1000 for name in ("p50", "p90", "p95", "p99")}
    return Measurement(
        load,
        images_per_second=float(row["Inferences/Second"]),
        mean_ms=float(row["Avg latency"]) / 1000,
        **latencies,
        statistics=between(before, after),
    )


def _arguments(server: Server, load: Load, input_data: Path, seconds: float, table: Path) -> list[str]:
    arguments = ["-m", load.model, "-i", load.protocol, "-u", server.http if load.protocol == "http" else server.grpc]
    arguments += ["--input-data", str(input_data), _RANGE[load.kind], str(load.level)]
    arguments += ["--measurement-interval", str(max(_SHORTEST_WINDOW_MS, round(1000 * seconds / _WINDOWS)))]
    arguments += ["--max-trials", str(_WINDOWS), "--stability-percentage", str(_ANY_DEVIATION)]
    if load.kind == "request_rate":
        # Its other distribution, poisson, repeats one random schedule: short runs got 31 of 40 requests per second.
        arguments += ["--request-distribution", "constant"]
    if load.shared_memory != "none":
        arguments += ["--shared-memory", load.shared_memory, "--output-shared-memory-size", str(_OUTPUT_BYTES)]
    return [*arguments, "-f", str(table), "--verbose-csv"]


def _run(program: PerfAnalyzer, arguments: list[str], seconds: float) -> None:
    try:
        ended = subprocess.run(
            [program.path, *arguments],
            env={**environment_without_proxies(), **program.environment},
            capture_output=True,
            text=True,
            timeout=seconds + _START_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PerfAnalyzerFailed(f"it did not end within {error.timeout:.0f} s: {' '.join(arguments)}") from error
    if ended.returncode != 0:
        said = [line for line in (ended.stdout + ended.stderr).splitlines() if line.strip()]
        raise PerfAnalyzerFailed(f"exit code {ended.returncode}: {' / '.join(said[-3:])}")


def _only_row(table: Path) -> dict[str, str]:
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise PerfAnalyzerFailed("it measured nothing: no request was answered in time")
    return rows[0]
