"""Image URLs to outcomes: download, then Triton, for many images at once. Knows nothing of the web framework."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from frontend.download import Downloader
from frontend.errors import DeadlineExceeded, ImageError, InternalError, ServiceError
from frontend.image_header import check_image
from frontend.inference import Inference, Prediction

log = logging.getLogger(__name__)

# How many images are between URL and answer at any time: enough to fill Triton's batches while others download.
_MAX_IN_FLIGHT = 64
# A request takes at most this many of those places, so that a long list does not shut out a short one.
_MAX_IN_FLIGHT_PER_REQUEST = 32


@dataclass(frozen=True)
class Outcome:
    """What became of one URL."""

    url: str
    result: list[Prediction] | ImageError


class ImageClassifier:
    """Classifies the images behind URLs; shared by all requests, whose total it bounds."""

    def __init__(
        self, downloader: Downloader, inference: Inference, request_timeout_seconds: float, max_pixels: int
    ) -> None:
        self._downloader = downloader
        self._inference = inference
        self._request_timeout_seconds = request_timeout_seconds
        self._max_pixels = max_pixels
        self._places = asyncio.Semaphore(_MAX_IN_FLIGHT)

    async def classify(self, urls: Iterable[str], k: int) -> list[Outcome]:
        """Return one outcome for each distinct URL, in the order of their first appearance.

        Raises ServiceError when none can be served; whatever is wrong with one image is its own outcome.
        """
        distinct = list(dict.fromkeys(urls))
        deadline = asyncio.get_running_loop().time() + self._request_timeout_seconds
        outcomes: dict[str, Outcome] = {}
        waiting = iter(distinct)
        workers = [
            asyncio.create_task(self._work(waiting, k, deadline, outcomes))
            for _ in range(min(len(distinct), _MAX_IN_FLIGHT_PER_REQUEST))
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return [outcomes[url] for url in distinct]

    async def _work(self, urls: Iterator[str], k: int, deadline: float, outcomes: dict[str, Outcome]) -> None:
        for url in urls:
            outcomes[url] = Outcome(url, await self._outcome(url, k, deadline))

    async def _outcome(self, url: str, k: int, deadline: float) -> list[Prediction] | ImageError:
        remaining = deadline - asyncio.get_running_loop().time()
        try:
            return await asyncio.wait_for(self._one(url, k, deadline), max(remaining, 0))
        except asyncio.TimeoutError:
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

    async def _one(self, url: str, k: int, deadline: float) -> list[Prediction]:
        async with self._places, self._downloader.download(url) as image:
            check_image(image, self._max_pixels)
            remaining = deadline - asyncio.get_running_loop().time()
            return await self._inference.classify(image, k, remaining)
