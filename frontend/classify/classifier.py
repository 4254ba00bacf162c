"""Images to outcomes: their bytes, then Triton, for many at once. Knows nothing of the web framework."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, ExitStack, aclosing
from dataclasses import dataclass
from functools import partial
from math import isinf

from anyio import fail_after, move_on_after
from anyio.streams.memory import MemoryObjectSendStream

from frontend.classify.image_sniff import check_image
from frontend.errors import (
    DeadlineExceeded,
    ImageError,
    InternalError,
    ServiceError,
    TritonUnavailable,
    UnknownModelVersion,
)
from frontend.inference.client import Inference, Prediction
from frontend.inference.versions import ModelVersions, VersionRoute
from frontend.limits.fair_semaphore import FairSemaphore, Holder
from frontend.limits.worker_pool import as_produced
from frontend.telemetry import request_stats

log = logging.getLogger(__name__)

# How many images are between source and answer at any time: enough to fill Triton's batches while others download.
_MAX_IN_FLIGHT = 64
# One request alone gets half of these places, see FairSemaphore.
_MAX_IN_FLIGHT_PER_REQUEST = _MAX_IN_FLIGHT // 2


@dataclass(frozen=True)
class Image:
    """An image by the name that its outcome will bear, and how to get its bytes, which are given back when the context
    ends; `open` raises ImageError."""

    name: str
    open: Callable[[], AbstractAsyncContextManager[bytes]]


@dataclass(frozen=True)
class Outcome:
    """What became of one image; `position` counts the images of the request from 0."""

    position: int
    name: str
    result: list[Prediction] | ImageError
    model_version: str | None = None


async def images_at(
    urls: Iterable[str], download: Callable[[str], AbstractAsyncContextManager[bytes]]
) -> AsyncGenerator[Image, None]:
    """One image for each distinct URL, in the order of first appearance."""
    distinct = dict.fromkeys(urls)
    with request_stats.QueuedImages(len(distinct)) as queued:
        for url in distinct:
            queued.take()
            yield Image(url, partial(download, url))


class ImageClassifier:
    """Classifies images; shared by many requests, whose total it bounds."""

    def __init__(self, inference: Inference, versions: ModelVersions, max_pixels: int) -> None:
        self._inference = inference
        self._versions = versions
        self._max_pixels = max_pixels
        self.places = FairSemaphore(_MAX_IN_FLIGHT)

    async def outcomes(
        self,
        images: AsyncGenerator[Image, None],
        k: int,
        deadline: float,
        backlog: int,
        choice: VersionRoute,
        count_done: Callable[[], None] = lambda: None,
        most_images: int = _MAX_IN_FLIGHT_PER_REQUEST,
    ) -> AsyncGenerator[Outcome, None]:
        """Every image's outcome as soon as there is one; closing the generator cancels the rest.

        One image at most is taken from `images` and waits for its place. At most `backlog` outcomes wait for
        the caller: one that takes its time holds back the work. `deadline` is on the event loop's clock, or infinite;
        images whose turn comes later fail with DeadlineExceeded. `count_done` is called for each that needs nothing
        more. `most_images` is how many there can be. Raises ServiceError when no more can be served, after the
        outcomes that were ready; whatever is wrong with one image is its own outcome.
        """
        queue = _Queue(images, self.places, deadline)
        workers = min(most_images, _MAX_IN_FLIGHT_PER_REQUEST)
        produced = as_produced(partial(self._work, queue, k, choice, count_done), workers, backlog)
        async with aclosing(images), aclosing(produced):
            async for outcome in produced:
                yield outcome

    async def _work(
        self,
        queue: _Queue,
        k: int,
        choice: VersionRoute,
        count_done: Callable[[], None],
        outcomes: MemoryObjectSendStream[Outcome],
    ) -> None:
        while True:
            with ExitStack() as place:
                taken = await queue.take(place)
                if taken is None:
                    return
                position, image = taken
                with request_stats.image(position):
                    outcome = await self._outcome(position, image, k, queue.remaining_seconds, choice)
            count_done()
            await outcomes.send(outcome)

    async def _outcome(
        self, position: int, image: Image, k: int, remaining_seconds: float, choice: VersionRoute
    ) -> Outcome:
        started, version = _now(), choice.of(image.name)
        try:
            result = await self._result(image, k, remaining_seconds, version)
        except UnknownModelVersion:
            if choice.is_named:
                raise
            # It was retired while this request was under way.
            version = (await self._versions.choose(None, fresh=True)).version
            try:
                result = await self._result(image, k, remaining_seconds - (_now() - started), version)
            except UnknownModelVersion as error:  # or Triton is only just loading it; nobody asked for it by name
                raise TritonUnavailable() from error
        code = result.code if isinstance(result, ImageError) else "ok"
        request_stats.image_done(version, code, _now() - started)
        return Outcome(position, image.name, result, version)

    async def _result(
        self, image: Image, k: int, remaining_seconds: float, version: str | None
    ) -> list[Prediction] | ImageError:
        try:
            with fail_after(remaining_seconds) as time_left:
                async with image.open() as content:
                    check_image(content, self._max_pixels)
                    remaining = time_left.deadline - _now()
                    seconds = None if isinf(remaining) else remaining
                    with request_stats.stage("inference", {"birds.model_version": version or "default"}):
                        return await self._inference.classify(content, k, seconds, version)
        except TimeoutError:
            return DeadlineExceeded()
        except ImageError as failure:
            # Its traceback, and its cause's, would keep the image's bytes for as long as the outcome is kept.
            failure.__cause__ = failure.__context__ = None
            return failure.with_traceback(None)
        except ServiceError:
            raise
        except Exception:
            log.exception("unexpected failure on one image")
            return InternalError()


class _Queue:
    """Hands a request's images to its workers, one at a time, each once there is a place for it."""

    def __init__(self, images: AsyncGenerator[Image, None], places: FairSemaphore, deadline: float) -> None:
        self._images = images
        self._places = places
        self._party = Holder()
        self._turn = asyncio.Lock()
        self._position = 0
        self._deadline = deadline

    async def take(self, place: ExitStack) -> tuple[int, Image] | None:
        """The next image, or None after the last. `place` is to be closed when it has been dealt with.

        The image comes first: whoever is slow to send one holds no place meanwhile.
        """
        async with self._turn:
            image = await anext(self._images, None)
            if image is None:
                return None
            await self._reserve(place)
            self._position += 1
            return self._position - 1, image

    async def _reserve(self, place: ExitStack) -> None:
        """Wait for a place, but not past the deadline: what comes after it is refused without one."""
        with move_on_after(self.remaining_seconds):
            await self._places.take(self._party)
            place.callback(self._places.give_back, self._party)

    @property
    def remaining_seconds(self) -> float:
        return max(self._deadline - _now(), 0)


def _now() -> float:
    """On the clock of deadlines."""
    return asyncio.get_running_loop().time()
