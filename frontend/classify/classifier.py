"""Images to outcomes: get the bytes, check them, ask Triton; many at once. Independent of the web framework."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager, ExitStack, aclosing
from dataclasses import dataclass
from functools import partial
from math import inf, isinf
from typing import TypeVar

import numpy as np
from anyio import CancelScope

from frontend.classify.image_sniff import check_image
from frontend.errors import (
    BirdsError,
    DeadlineExceeded,
    ImageError,
    InferenceFailed,
    InternalError,
    ServiceError,
    TritonUnavailable,
    UnknownModelVersion,
)
from frontend.inference.client import Inference
from frontend.inference.scores import BACKGROUND, ImageScores, Prediction
from frontend.inference.versions import ModelVersions, VersionRoute
from frontend.limits.fair_semaphore import FairSemaphore, Holder
from frontend.limits.worker_pool import Put, as_produced
from frontend.telemetry import request_stats

log = logging.getLogger(__name__)

E = TypeVar("E", bound=BirdsError)

# Images being downloaded or classified at any time: enough to fill Triton's batches while others download.
_MAX_IN_FLIGHT = 64
# The largest share of one caller, see frontend/limits/fair_share.py: more workers for a request would only wait.
_MAX_WORKERS_PER_REQUEST = _MAX_IN_FLIGHT * 3 // 4


@dataclass(frozen=True)
class Image:
    """An image, named as in its outcome. `open` yields its bytes, which are freed when the context ends.

    `open` raises ImageError.
    """

    name: str
    open: Callable[[], AbstractAsyncContextManager[bytes]]


@dataclass(frozen=True)
class Outcome:
    """The predictions for one image, or why there are none. `position` is the image's index in the request.

    `no_bird` says whether the most probable of all labels is the background, even if only some species were requested.
    """

    position: int
    name: str
    result: list[Prediction] | ImageError
    model_version: str | None = None
    no_bird: bool = False


@dataclass(frozen=True)
class ClassifyOptions:
    """What a request wants, apart from its images.

    `deadline` is on the event loop's clock; images that would start later fail with DeadlineExceeded. At most
    `max_waiting_outcomes` wait for a slow reader; then the work pauses. `max_images` is the largest possible number of
    images. `on_image_done` is called after each image. Predictions below `min_score` are left out; with `species`, so
    are all other species.
    """

    k: int
    route: VersionRoute
    caller: str = ""
    deadline: float = inf
    max_waiting_outcomes: int = 16
    max_images: int = _MAX_WORKERS_PER_REQUEST
    on_image_done: Callable[[], None] = lambda: None
    min_score: float = 0.0
    species: Collection[str] | None = None


async def images_at(
    urls: Iterable[str], download: Callable[[str], AbstractAsyncContextManager[bytes]]
) -> AsyncGenerator[Image, None]:
    """Yield one image for each distinct URL, in the order of first appearance."""
    distinct = dict.fromkeys(urls)
    with request_stats.QueuedImages(len(distinct)) as queued:
        for url in distinct:
            queued.take()
            yield Image(url, partial(download, url))


class ImageClassifier:
    """Classifies the images of all requests, and bounds how many are in flight at once."""

    def __init__(self, inference: Inference, versions: ModelVersions, max_pixels: int) -> None:
        self._inference = inference
        self._versions = versions
        self._max_pixels = max_pixels
        self.slots = FairSemaphore(_MAX_IN_FLIGHT)

    async def outcomes(
        self, images: AsyncGenerator[Image, None], options: ClassifyOptions
    ) -> AsyncGenerator[Outcome, None]:
        """Yield each image's outcome as soon as there is one. Closing the generator cancels the rest.

        Only one image at a time is taken from `images` and waits for a slot. A problem with one image is that image's
        outcome. Raises ServiceError when the service cannot go on, after the outcomes that were ready.
        """
        queue = _ImageQueue(images, self.slots, options)
        workers = min(options.max_images, _MAX_WORKERS_PER_REQUEST)
        produced = as_produced(partial(self._work, queue, options), workers, options.max_waiting_outcomes)
        async with aclosing(images), aclosing(produced):
            async for outcome in produced:
                yield outcome

    async def _work(self, queue: _ImageQueue, options: ClassifyOptions, put: Put[Outcome]) -> None:
        while True:
            with ExitStack() as slot:
                taken = await queue.take(slot)
                if taken is None:
                    return
                position, image = taken
                with request_stats.image(position):
                    outcome = await self._outcome(position, image, options)
            options.on_image_done()
            await put(outcome)

    async def _outcome(self, position: int, image: Image, options: ClassifyOptions) -> Outcome:
        started, version = _now(), options.route.of(image.name)
        try:
            result = await self._result(image, options, version)
        except UnknownModelVersion:
            if options.route.is_named:
                raise
            # The version was retired while this request was running.
            version = (
                await self._versions.choose(None, fresh=True, timeout_seconds=_seconds_until(options.deadline))
            ).version
            try:
                result = await self._result(image, options, version)
            except UnknownModelVersion as error:  # Triton is still loading it, and the caller did not name it
                raise TritonUnavailable() from error
        code = result.code if isinstance(result, ImageError) else "ok"
        request_stats.image_done(version, code, _now() - started)
        if isinstance(result, ImageError):
            return Outcome(position, image.name, result, version)
        ranked = result.best(max(options.k, 1))  # one search, unless the request names species
        wanted = ranked[: options.k] if options.species is None else result.best(options.k, options.species)
        predictions = [prediction for prediction in wanted if prediction.score >= options.min_score]
        return Outcome(position, image.name, predictions, version, no_bird=ranked[0].bird_name == BACKGROUND)

    async def _result(self, image: Image, options: ClassifyOptions, version: str | None) -> ImageScores | ImageError:
        try:
            with CancelScope(deadline=options.deadline):
                return await self._scores(image, options, version)
            return DeadlineExceeded()  # the scope has ended the work
        except ImageError as failure:
            return _without_traceback(failure)
        except ServiceError as error:
            raise _without_traceback(error) from None
        except Exception:
            log.exception("unexpected failure on one image")
            return InternalError()

    async def _scores(self, image: Image, options: ClassifyOptions, version: str | None) -> ImageScores | ImageError:
        async with image.open() as content:
            check_image(content, self._max_pixels)
            remaining = _seconds_until(options.deadline)
            with request_stats.stage("inference", {"birds.model_version": version or "default"}):
                scores = await self._inference.scores(content, None if isinf(remaining) else remaining, version)
            if not np.isfinite(scores.row).all():
                log.warning("The model answered scores that are not numbers")
                return InferenceFailed()
            return scores


class _ImageQueue:
    """Gives the images of a request to its workers, one at a time, each as soon as there is a slot for it."""

    def __init__(self, images: AsyncGenerator[Image, None], slots: FairSemaphore, options: ClassifyOptions) -> None:
        self._images = images
        self._slots = slots
        self._holder = Holder(options.caller)
        self._deadline = options.deadline
        self._lock = asyncio.Lock()
        self._position = 0

    async def take(self, slot: ExitStack) -> tuple[int, Image] | None:
        """Return the next image and its index, or None after the last. The caller closes `slot` when it is done.

        The image comes before the slot, so that a client that sends images slowly holds no slot meanwhile.
        """
        async with self._lock:
            image = await anext(self._images, None)
            if image is None:
                return None
            await self._acquire(slot)
            self._position += 1
            return self._position - 1, image

    async def _acquire(self, slot: ExitStack) -> None:
        """Wait for a slot until the deadline. Images that come after it need none: they fail at once."""
        if not self._slots.acquire_nowait(self._holder):
            with CancelScope(deadline=self._deadline) as scope:
                await self._slots.acquire(self._holder)
            if scope.cancelled_caught:
                return
        slot.callback(self._slots.release, self._holder)


def _without_traceback(error: E) -> E:
    """Remove the tracebacks of an error and of its cause. They would keep the image's bytes as long as it lives."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _seconds_until(deadline: float) -> float:
    return max(deadline - _now(), 0)


def _now() -> float:
    """The time on the clock that deadlines are on."""
    return asyncio.get_running_loop().time()
