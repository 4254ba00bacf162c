"""Classifies images without a frontend: this process downloads or reads them and asks Triton directly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from pathlib import Path

from birds_client import UNREADABLE, Failure, Image, Models, ModelVersion, Photo, Prediction, Result
from birds_client.images import open_file
from pydantic import ValidationError

from frontend.api.schemas import DEFAULT_K
from frontend.classify.classifier import ClassifyOptions, ImageClassifier
from frontend.classify.classifier import Image as ClassifierImage
from frontend.download.downloader import Downloader
from frontend.errors import ImageError
from frontend.i18n.messages import failure_message
from frontend.inference.client import Inference
from frontend.inference.versions import ModelVersions
from frontend.settings import Settings
from tools.errors import UsageError

_BACKLOG = 16


class _UnreadableFile(ImageError):
    code = UNREADABLE


class DirectClient:
    """Has the same `classify` as birds_client.AsyncBirdsClient; use as an async context manager.

    The BIRDS_* settings for downloads apply. Raises frontend.errors.ServiceError when Triton does not answer.
    """

    def __init__(self, triton_url: str, language: str) -> None:
        self._settings = _settings(triton_url)
        self._language = language

    async def __aenter__(self) -> DirectClient:
        settings = self._settings
        async with AsyncExitStack() as stack:
            self._downloader = await stack.enter_async_context(Downloader.from_settings(settings))
            inference = await stack.enter_async_context(Inference(settings.triton_url))
            self._versions = ModelVersions(inference.catalogue)
            self._classifier = ImageClassifier(inference, self._versions, settings.max_pixels)
            self._opened = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    async def models(self) -> Models:
        """The versions that Triton serves. `not_sure_below` is this process's own setting. Raises ServiceError."""
        catalogue = await self._versions.catalogue()
        versions = [
            ModelVersion(v.version, v.version == catalogue.default, v.labels, v.source, v.engine, v.published)
            for v in catalogue.versions.values()
        ]
        return Models(catalogue.default, {}, versions, self._settings.not_sure_below)

    async def classify(
        self,
        images: Iterable[Image],
        k: int = DEFAULT_K,
        *,
        model_version: str | None = None,
        min_score: float | None = None,
        species: str | Sequence[str] | None = None,
    ) -> AsyncGenerator[Result, None]:
        """Yield one result for each image as soon as it is known. `species` must be names: only a frontend has lists.

        Raises UnknownModelVersion, or UsageError for the name of a list.
        """
        if isinstance(species, str):
            raise UsageError(f"{species}: there is no such file, and Triton itself has no lists of species")
        route = await self._versions.choose(model_version)
        taken: list[Image] = []
        options = ClassifyOptions(k, route, max_waiting_outcomes=_BACKLOG, min_score=min_score or 0.0, species=species)
        outcomes = self._classifier.outcomes(self._sources(images, taken), options)
        async with aclosing(outcomes):
            async for outcome in outcomes:
                image = taken[outcome.position]
                if isinstance(outcome.result, ImageError):
                    yield Result(image, [], self._reason(outcome.result))
                else:
                    predictions = [Prediction(**vars(prediction)) for prediction in outcome.result]
                    yield Result(image, predictions, None, outcome.model_version, outcome.no_bird)

    async def _sources(self, images: Iterable[Image], taken: list[Image]) -> AsyncGenerator[ClassifierImage, None]:
        for image in images:
            taken.append(image)
            yield ClassifierImage("", partial(self._open, image))

    @asynccontextmanager
    async def _open(self, image: Image) -> AsyncIterator[bytes]:
        if isinstance(image, str):
            async with self._downloader.download(image) as content:
                yield content
        elif isinstance(image, (bytes, Photo)):
            yield image if isinstance(image, bytes) else image.content
        else:
            yield await asyncio.to_thread(_read, image)

    def _reason(self, failure: ImageError) -> Failure:
        if isinstance(failure, _UnreadableFile):
            return Failure(failure.code, str(failure.parameters["reason"]))
        return Failure(failure.code, failure_message(failure, self._language))


def _settings(triton_url: str) -> Settings:
    """Raises UsageError for a wrong address, which comes from the command line."""
    try:
        return Settings(triton_url=triton_url)
    except ValidationError as error:
        for problem in error.errors():
            if problem["loc"] == ("triton_url",):
                raise UsageError(f"--triton: {problem['msg'].removeprefix('Value error, ')}") from error
        raise


def _read(path: Path) -> bytes:
    try:
        with open_file(path) as file:
            return file.read()
    except OSError as error:
        raise _UnreadableFile(reason=error.strerror or str(error)) from error
