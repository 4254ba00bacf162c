"""The loads of a sweep, and its table: one row for each load and each model that worked on it."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, get_args

from tools.measure.perf.analyzer import Load, Measurement, Protocol, SharedMemory

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
SHARED_MEMORY: tuple[SharedMemory, ...] = get_args(SharedMemory)
PARTS = ("queue", "compute_input", "compute_infer", "compute_output")  # of the time in Triton
_SEEN_BY_THE_CLIENT = ("images_per_second", "mean_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms")
COLUMNS = [
    *("model", "protocol", "shared_memory", "load", "level"),
    *_SEEN_BY_THE_CLIENT,
    *("step", *(f"{part}_ms" for part in PARTS), "batch_size", "cache_hits", "problem"),
]
Row = dict[str, str | float]


@dataclass(frozen=True)
class Sweep:
    """The values to combine. Request rates are requests per second, evenly spaced."""

    models: Sequence[str]
    protocols: Sequence[Protocol]
    shared_memory: Sequence[SharedMemory]
    concurrency: Sequence[int]
    request_rates: Sequence[int]

    def loads(self) -> Iterator[Load]:
        for model in self.models:
            for protocol in self.protocols:
                for memory in self.shared_memory:
                    for level in self.concurrency:
                        yield Load(model, "concurrency", level, protocol, memory)
                    for level in self.request_rates:
                        yield Load(model, "request_rate", level, protocol, memory)


class Table:
    """Writes a CSV file row by row, so that a later failure does not lose what has been measured."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._writer = csv.DictWriter(file, COLUMNS)
        self._writer.writeheader()
        self.rows: list[Row] = []

    def add(self, measurement: Measurement) -> None:
        rows = list(_rows(measurement))
        self._writer.writerows(rows)
        self._file.flush()
        self.rows += rows

    def add_failure(self, load: Load, problem: str) -> None:
        """A row that says why a load was not measured."""
        self._writer.writerow({**_columns_of(load), "problem": problem})
        self._file.flush()


def _rows(measured: Measurement) -> Iterator[Row]:
    """Yield a row for each step. The ensemble has none, because it queues and computes nothing itself."""
    load = measured.load
    seen: Row = _columns_of(load) | {name: getattr(measured, name) for name in _SEEN_BY_THE_CLIENT}
    steps = {name: step for name, step in measured.statistics.items() if name != load.model}
    for name, step in (steps or measured.statistics).items():
        yield {
            **seen,
            "step": name,
            **{f"{part}_ms": round(step.per_request_ms(part.removeprefix("compute_")), 3) for part in PARTS},
            "batch_size": round(step.batch_size, 2),
            "cache_hits": step.cache_hits,
        }


def _columns_of(load: Load) -> Row:
    return {
        "model": load.model,
        "protocol": load.protocol,
        "shared_memory": load.shared_memory,
        "load": load.kind,
        "level": load.level,
    }
