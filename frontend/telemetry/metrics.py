"""The frontend's Prometheus metrics. Triton has metrics of its own, by model and version.

With several workers (PROMETHEUS_MULTIPROC_DIR is set) each writes to its own files, and each can answer for all.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, get_args

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.process_collector import ProcessCollector

from frontend import VERSION
from frontend.errors import ServiceError

CacheOutcome = Literal["hit", "shared", "miss"]
GaugeMode = Literal["livesum", "livemax", "livemostrecent"]

CONTENT_TYPE = CONTENT_TYPE_LATEST
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # up to the default deadline of a request
_STAGE_SECONDS = (0.005, *_SECONDS)


class Metrics:
    """The metrics of one application. Clients cannot choose the value of any label."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._add_request_metrics()
        self._add_image_metrics()
        self._add_cache_metrics()
        self._add_program_metrics()

    def _add_request_metrics(self) -> None:
        self._requests = self._counter(
            "birds_http_requests",
            "Requests answered, by route, method and status.",
            ["route", "method", "status"],
        )
        self._request_seconds = self._histogram(
            "birds_http_request_duration_seconds",
            "Seconds from the headers of a request to the last byte of its answer, by route and method.",
            ["route", "method"],
        )
        self._requests_in_flight = self._gauge("birds_http_requests_in_flight", "Requests being answered.")
        self._refused_connections = self._counter(
            "birds_refused_connections",
            "Connections closed at once because the process or the caller had reached its limit.",
        )
        self._service_errors = self._counter(
            "birds_service_errors",
            "Requests that failed as a whole, by code, including streamed answers that ended early.",
            ["code"],
        )
        for code in _codes_of(ServiceError):
            self._service_errors.labels(code)  # start at 0, so that the first failure is an increase

    def _add_image_metrics(self) -> None:
        self._images = self._counter(
            "birds_images",
            "Images answered, by model version and outcome: ok, or the code of the failure.",
            ["model_version", "outcome"],
        )
        self._image_seconds = self._histogram(
            "birds_image_duration_seconds",
            "Seconds from an image's turn to its outcome, including the download, by model version.",
            ["model_version"],
        )
        self._stage_seconds = {
            (stage, outcome): histogram.labels(outcome)
            for stage, text in {
                "download": "Seconds that an image waited for its download, by outcome: ok or failed.",
                "inference": "Seconds that an image was with Triton, by outcome: ok or failed.",
            }.items()
            for histogram in [self._histogram(f"birds_{stage}_duration_seconds", text, ["outcome"], _STAGE_SECONDS)]
            for outcome in ("ok", "failed")
        }
        self._downloaded_bytes = self._counter(
            "birds_downloaded_bytes",
            "Bytes read from image servers, including those of failed downloads.",
        )
        self._images_in_flight = self._gauge("birds_images_in_flight", "Images being downloaded or with Triton.")
        self._images_queued = self._gauge(
            "birds_images_queued",
            "Images of accepted requests that wait for their turn.",
        )

    def _add_cache_metrics(self) -> None:
        lookups = self._counter(
            "birds_answer_cache_lookups",
            "Images looked up in the answer cache: hit; shared with an equal image in flight; or miss.",
            ["outcome"],
        )
        self._cache_lookups = {outcome: lookups.labels(outcome) for outcome in get_args(CacheOutcome)}
        self._cache_evictions = self._counter(
            "birds_answer_cache_evictions",
            "Answers dropped from the answer cache to make room.",
        )
        self._cache_bytes = self._gauge(
            "birds_answer_cache_bytes",
            "Memory that the answers in the answer cache take.",
        )

    def _add_program_metrics(self) -> None:
        self._default: str | None = None
        self._default_version = self._gauge(
            "birds_default_model_version_info",
            "1 for the default model version, 0 for a version that was the default before.",
            ["model_version"],
            "livemostrecent",
        )
        build = self._gauge(
            "birds_build_info",
            "Always 1; the labels describe the running program.",
            ["version", "python_version"],
            "livemax",
        )
        build.labels(VERSION, platform.python_version()).set(1)
        self._gauge("birds_workers", "Processes that answer requests.").set(1)
        ProcessCollector(registry=self._registry)

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, labels: Sequence[str], buckets: Sequence[float] = _SECONDS) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self._registry)

    def _gauge(self, name: str, text: str, labels: Sequence[str] = (), mode: GaugeMode = "livesum") -> Gauge:
        """`mode` says how the values of several workers become one: by default, their sum."""
        return Gauge(name, text, labels, registry=self._registry, multiprocess_mode=mode)

    def request_in_flight(self) -> AbstractContextManager[None]:
        return self._requests_in_flight.track_inprogress()

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        self._requests.labels(route, method, str(status)).inc()
        self._request_seconds.labels(route, method).observe(seconds)

    def count_refused_connection(self) -> None:
        self._refused_connections.inc()

    def count_service_error(self, code: str) -> None:
        self._service_errors.labels(code).inc()

    def queue_images(self, count: int) -> None:
        """Count `count` more images as waiting for their turn, or fewer if it is negative."""
        self._images_queued.inc(count)

    def image_in_flight(self) -> AbstractContextManager[None]:
        return self._images_in_flight.track_inprogress()

    def count_image(self, model_version: str | None, outcome: str, seconds: float) -> None:
        """Count an image. `model_version` is the version that classified it, or would have."""
        version = model_version or "unknown"
        self._images.labels(version, outcome).inc()
        self._image_seconds.labels(version).observe(seconds)

    def observe_stage(self, stage: str, outcome: str, seconds: float) -> None:
        """`stage` is download or inference, `outcome` is ok or failed."""
        self._stage_seconds[stage, outcome].observe(seconds)

    def count_downloaded(self, size_bytes: int) -> None:
        self._downloaded_bytes.inc(size_bytes)

    def count_cache_lookup(self, outcome: CacheOutcome) -> None:
        self._cache_lookups[outcome].inc()

    def set_cache_size(self, size_bytes: int, evictions: int) -> None:
        """`evictions` is the number of answers dropped since the last call."""
        self._cache_bytes.set(size_bytes)
        if evictions:
            self._cache_evictions.inc(evictions)

    def set_default_version(self, version: str | None) -> None:
        if self._default is not None and self._default != version:
            self._default_version.labels(self._default).set(0)
        if version is not None:
            self._default_version.labels(version).set(1)
        self._default = version

    def text(self) -> bytes:
        """Return the metrics of all workers, in Prometheus' text format."""
        folder = os.environ.get(MULTIPROCESS_VARIABLE)
        if not folder:
            return generate_latest(self._registry)
        _drop_gauges_of_dead_workers(Path(folder))
        every_worker = CollectorRegistry()
        MultiProcessCollector(every_worker, folder)  # type: ignore[no-untyped-call]
        return generate_latest(every_worker)


def _codes_of(base: type[ServiceError]) -> Iterator[str]:
    """Yield the codes of all kinds of an error."""
    for kind in base.__subclasses__():
        yield kind.code
        yield from _codes_of(kind)


def _drop_gauges_of_dead_workers(folder: Path) -> None:
    """Drop the gauges of killed workers, because their requests ended with them. Counters stay."""
    for pid in {path.stem.rpartition("_")[2] for path in folder.glob("gauge_live*.db")}:
        if not Path(f"/proc/{pid}").exists():
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
