"""What becomes of an image whose model version is not there."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, aclosing, nullcontext

import pytest
from anyio import current_time

from frontend.classify.classifier import ImageClassifier, images_at
from frontend.errors import TritonUnavailable, UnknownModelVersion
from frontend.inference.client import Inference, Prediction
from frontend.inference.versions import Catalogue, ModelVersions, VersionRoute
from tests.support.images import RED, flat


class StillLoading(Inference):
    """A Triton that accepts connections already, and has no model yet."""

    async def classify(
        self,
        image: bytes,
        k: int,
        timeout_seconds: float | None = None,
        version: str | None = None,
        priority: int = 0,
    ) -> list[Prediction]:
        raise UnknownModelVersion(version=version or "")


async def catalogue(_: float) -> Catalogue:
    return Catalogue("1", {})


def download(_: str) -> AbstractAsyncContextManager[bytes]:
    return nullcontext(flat(RED))


async def outcome_of(choice: VersionRoute) -> None:
    classifier = ImageClassifier(StillLoading("127.0.0.1:1"), ModelVersions(catalogue), max_pixels=10_000_000)
    outcomes = classifier.outcomes(images_at(["a"], download), 1, current_time() + 10, 1, choice)
    async with aclosing(outcomes):
        async for outcome in outcomes:
            raise AssertionError(outcome)


async def test_a_version_that_was_asked_for_by_name_is_unknown() -> None:
    with pytest.raises(UnknownModelVersion):
        await outcome_of(VersionRoute("1", is_named=True))


async def test_nobody_who_named_no_version_hears_of_one() -> None:
    """A request that may be repeated: 503, not a mistake of the caller's."""
    with pytest.raises(TritonUnavailable):
        await outcome_of(VersionRoute("1"))
