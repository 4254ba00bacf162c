"""Collects statistics of one request while it is served: for the metrics, the access log and the trace.

A context variable holds the current request; tasks that work for the request inherit it. Without a current request, as
in a program that uses the classifier directly, nothing is recorded.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field

from frontend.errors import BirdsError
from frontend.telemetry.metrics import Metrics
from frontend.telemetry.tracing import Attributes, Tracing


@dataclass
class StageTimes:
    """Seconds that the images of a request spent in one stage."""

    total: float = 0.0
    slowest: float = 0.0

    def add(self, seconds: float) -> None:
        self.total += seconds
        self.slowest = max(self.slowest, seconds)


@dataclass
class RequestStats:
    """The statistics of one request."""

    request_id: str
    metrics: Metrics
    tracing: Tracing | None = None
    outcomes: Counter[str] = field(default_factory=Counter)  # number of images by "ok" or code of the failure
    stages: dict[str, StageTimes] = field(default_factory=dict)
    downloaded_bytes: int = 0
    model_versions: set[str] = field(default_factory=set)
    error: str | None = None  # code of the failure of the request as a whole


_current: ContextVar[RequestStats | None] = ContextVar("request_stats", default=None)
_position: ContextVar[int | None] = ContextVar("image_position", default=None)


def current() -> RequestStats | None:
    """Return the statistics of the current request, or None."""
    return _current.get()


def begin(stats: RequestStats) -> None:
    """Make `stats` those of the current request. The server gives each request a context of its own."""
    _current.set(stats)


@contextmanager
def image(position: int) -> Iterator[None]:
    """Count one image of the request as in flight while the context lasts."""
    token = _position.set(position)
    stats = _current.get()
    try:
        with stats.metrics.image_in_flight() if stats is not None else nullcontext():
            yield
    finally:
        _position.reset(token)


def image_done(model_version: str | None, outcome: str, seconds: float) -> None:
    """Record an image's outcome: `outcome` is ok or the code of the failure."""
    stats = _current.get()
    if stats is not None:
        stats.metrics.count_image(model_version, outcome, seconds)
        stats.outcomes[outcome] += 1
        if model_version is not None:
            stats.model_versions.add(model_version)


class QueuedImages:
    """Counts images as waiting for their turn while the context lasts; `take` ends the wait of one of them."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._stats = _current.get()

    def __enter__(self) -> QueuedImages:
        self._add(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        self._add(-self._count)

    def take(self) -> None:
        self._count -= 1
        self._add(-1)

    def _add(self, count: int) -> None:
        if self._stats is not None:
            self._stats.metrics.queue_images(count)


@contextmanager
def stage(name: str, attributes: Attributes) -> Iterator[None]:
    """Time a stage of the current image, download or inference, and record its failure with the code.

    `attributes` go to the span, so they must not hold secrets, such as the query of a URL.
    """
    stats = _current.get()
    if stats is None:
        yield
        return
    started, outcome = time.perf_counter(), None
    with stats.tracing.client_span(name) if stats.tracing else nullcontext() as span:
        if span:
            span.set(_attributes(stats, attributes))
        try:
            yield
            outcome = "ok"
        except (asyncio.CancelledError, GeneratorExit):
            if span:
                span.fail("cancelled")
            raise
        except Exception as error:
            outcome = "failed"
            if span:
                span.fail(error.code if isinstance(error, BirdsError) else "internal_error")
            raise
        finally:
            seconds = time.perf_counter() - started
            if outcome:  # a cancelled stage says nothing about how long it takes
                stats.metrics.observe_stage(name, outcome, seconds)
            stats.stages.setdefault(name, StageTimes()).add(seconds)


def downloaded(size_bytes: int) -> None:
    """Record bytes that were read from an image server."""
    stats = _current.get()
    if stats is not None:
        stats.downloaded_bytes += size_bytes
        stats.metrics.count_downloaded(size_bytes)


def failed(code: str) -> None:
    """Record that the request as a whole failed. Its HTTP status may still be 200."""
    stats = _current.get()
    if stats is not None:
        stats.error = code
        stats.metrics.count_service_error(code)


def triton_request_id() -> str:
    """Return the id that Triton gets for the current image: the request's id and the image's position in it."""
    stats, position = _current.get(), _position.get()
    if stats is None:
        return ""
    return stats.request_id if position is None else f"{stats.request_id}#{position}"


def trace_headers() -> dict[str, str]:
    """Return the headers that make Triton's spans part of the current trace."""
    stats = _current.get()
    return stats.tracing.headers() if stats is not None and stats.tracing else {}


def _attributes(stats: RequestStats, given: Attributes) -> Attributes:
    position = _position.get()
    own: Attributes = {"birds.request_id": stats.request_id}
    if position is not None:
        own["birds.image.position"] = position
    return {**own, **given}
