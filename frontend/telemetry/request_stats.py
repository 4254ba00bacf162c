"""What is noted of one request while it is served: for the metrics, its line in the log, and its trace.

The request under way is found by a context variable, which the tasks that work for it inherit. Without one, as in a
program that uses the classifier by itself, nothing is noted.
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
    """One request."""

    request_id: str
    metrics: Metrics
    tracing: Tracing | None = None
    outcomes: Counter[str] = field(default_factory=Counter)  # images by "ok" or code
    stages: dict[str, StageTimes] = field(default_factory=dict)
    downloaded_bytes: int = 0
    model_versions: set[str] = field(default_factory=set)
    error: str | None = None  # code of what failed the request as a whole


_current: ContextVar[RequestStats | None] = ContextVar("observation", default=None)
_position: ContextVar[int | None] = ContextVar("image_position", default=None)


def current() -> RequestStats | None:
    """The request that this code works for."""
    return _current.get()


def begin(observation: RequestStats) -> None:
    """Make it the current one, for as long as this context lives: the server gives each request its own."""
    _current.set(observation)


@contextmanager
def image(position: int) -> Iterator[None]:
    """One image of the request is being downloaded or classified inside."""
    token = _position.set(position)
    observation = _current.get()
    try:
        with observation.metrics.image_in_flight() if observation is not None else nullcontext():
            yield
    finally:
        _position.reset(token)


def image_done(model_version: str | None, outcome: str, seconds: float) -> None:
    """`outcome` is ok or the code of the failure."""
    observation = _current.get()
    if observation is not None:
        observation.metrics.count_image(model_version, outcome, seconds)
        observation.outcomes[outcome] += 1
        if model_version is not None:
            observation.model_versions.add(model_version)


class QueuedImages:
    """Images that wait for their turn, as long as the context lasts; `take` says that it has come for one of them."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._observation = _current.get()

    def __enter__(self) -> QueuedImages:
        self._add(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        self._add(-self._count)

    def take(self) -> None:
        self._count -= 1
        self._add(-1)

    def _add(self, count: int) -> None:
        if self._observation is not None:
            self._observation.metrics.queue_images(count)


@contextmanager
def stage(name: str, attributes: Attributes) -> Iterator[None]:
    """Time a stage of the current image, download or inference; a failure is noted with its code.

    `attributes` go to the span. They must be fit to be seen: no URL with a query.
    """
    observation = _current.get()
    if observation is None:
        yield
        return
    started, outcome = time.perf_counter(), None
    with observation.tracing.client_span(name) if observation.tracing else nullcontext() as span:
        if span:
            span.set(_attributes(observation, attributes))
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
            if outcome:  # what is cut short says nothing about how long it takes
                observation.metrics.observe_stage(name, outcome, seconds)
            observation.stages.setdefault(name, StageTimes()).add(seconds)


def downloaded(size_bytes: int) -> None:
    observation = _current.get()
    if observation is not None:
        observation.downloaded_bytes += size_bytes
        observation.metrics.count_downloaded(size_bytes)


def failed(code: str) -> None:
    """The request as a whole failed, whatever its status says."""
    observation = _current.get()
    if observation is not None:
        observation.error = code
        observation.metrics.count_service_error(code)


def triton_request_id() -> str:
    """The name of the current image's inference: the request's id and the image's position in it."""
    observation, position = _current.get(), _position.get()
    if observation is None:
        return ""
    return observation.request_id if position is None else f"{observation.request_id}#{position}"


def trace_headers() -> dict[str, str]:
    """What makes Triton's spans part of the current trace."""
    observation = _current.get()
    return observation.tracing.headers() if observation is not None and observation.tracing else {}


def _attributes(observation: RequestStats, given: Attributes) -> Attributes:
    position = _position.get()
    own: Attributes = {"birds.request_id": observation.request_id}
    if position is not None:
        own["birds.image.position"] = position
    return {**own, **given}
