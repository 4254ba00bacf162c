"""What happens to images whose model version is not served, and to images that kill a Python process."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, aclosing, nullcontext

import numpy as np
import pytest
from anyio import current_time

from frontend.classify.classifier import ClassifyOptions, ImageClassifier, images_at
from frontend.errors import ImageError, InferenceFailed, TritonUnavailable, UnknownModelVersion
from frontend.inference.client import Inference
from frontend.inference.scores import ImageScores, Labels
from frontend.inference.versions import Catalogue, ModelVersions, VersionRoute
from tests.support.images import RED, flat


class StillLoading(Inference):
    """A Triton that accepts connections and has no model yet."""

    async def scores(
        self,
        image: bytes,
        timeout_seconds: float | None = None,
        version: str | None = None,
    ) -> ImageScores:
        raise UnknownModelVersion(version=version or "")


async def catalogue(_: float) -> Catalogue:
    return Catalogue("1", {})


def download(_: str) -> AbstractAsyncContextManager[bytes]:
    return nullcontext(flat(RED))


async def outcome_of(route: VersionRoute) -> None:
    classifier = ImageClassifier(StillLoading("127.0.0.1:1"), ModelVersions(catalogue), max_pixels=10_000_000)
    outcomes = classifier.outcomes(images_at(["a"], download), ClassifyOptions(1, route, deadline=current_time() + 10))
    async with aclosing(outcomes):
        async for outcome in outcomes:
            raise AssertionError(outcome)


async def test_named_version_is_unknown() -> None:
    with pytest.raises(UnknownModelVersion):
        await outcome_of(VersionRoute("1", is_named=True))


async def test_unnamed_version_is_a_temporary_failure() -> None:
    """The caller made no mistake and may try again: 503."""
    with pytest.raises(TritonUnavailable):
        await outcome_of(VersionRoute("1"))


class NotNumbers(Inference):
    """A Triton whose model answers NaN."""

    async def scores(
        self,
        image: bytes,
        timeout_seconds: float | None = None,
        version: str | None = None,
    ) -> ImageScores:
        return ImageScores(np.full(2, np.nan, np.float32), Labels(["Rubra maxima", "background"]))


@pytest.mark.parametrize("k", [0, 1, 2])
async def test_scores_that_are_not_numbers_fail_the_image_alone(k: int) -> None:
    """The request goes on: other images have answers."""
    classifier = ImageClassifier(NotNumbers("127.0.0.1:1"), ModelVersions(catalogue), max_pixels=10_000_000)
    options = ClassifyOptions(k, VersionRoute("1"), deadline=current_time() + 60)
    async with aclosing(classifier.outcomes(images_at(["a"], download), options)) as outcomes:
        assert [type(outcome.result) async for outcome in outcomes] == [InferenceFailed]


class Poisoned(Inference):
    """A Triton whose Python process died of the image."""

    calls = 0

    async def scores(
        self, image: bytes, timeout_seconds: float | None = None, version: str | None = None
    ) -> ImageScores:
        self.calls += 1
        raise InferenceFailed()


async def test_failed_image_is_not_sent_again() -> None:
    """inference/ has already sent it a second time, alone. Another attempt could kill more Python processes."""
    inference = Poisoned("127.0.0.1:1")
    classifier = ImageClassifier(inference, ModelVersions(catalogue), max_pixels=10_000_000)
    options = ClassifyOptions(1, VersionRoute("1"), deadline=current_time() + 10)
    results = [outcome.result async for outcome in classifier.outcomes(images_at(["a"], download), options)]
    assert [result.code for result in results if isinstance(result, ImageError)] == ["inference_failed"]
    assert inference.calls == 1
