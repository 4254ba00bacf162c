"""What happens to images whose model version is not served, and to images that kill a Python process."""

from __future__ import annotations

import gc
import math
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext

import pytest
from anyio import current_time
from grpc import StatusCode

from frontend.classify.classifier import ClassifyOptions, ImageClassifier, Outcome, images_at
from frontend.errors import InferenceFailed, TritonUnavailable, UnknownModelVersion
from frontend.inference.client import Inference
from frontend.inference.versions import ModelVersions, VersionRoute
from tests.support.fake_triton import FakeTriton, FakeVersion, InferenceCall, TritonFailure, dead_stub, running_tritons
from tests.support.images import RED, flat
from tests.support.tiny_model import LABELS
from tests.support.waiting import until


def download(_: str) -> AbstractAsyncContextManager[bytes]:
    return nullcontext(flat(RED))


@asynccontextmanager
async def classifier_of(triton: FakeTriton) -> AsyncIterator[ImageClassifier]:
    async with running_tritons(triton) as url, Inference(url) as inference:
        yield ImageClassifier(inference, ModelVersions(inference.catalogue), max_pixels=10_000_000)


async def classify(classifier: ImageClassifier, route: VersionRoute, k: int = 1) -> Outcome:
    """The outcome of one image."""
    options = ClassifyOptions(k, route, deadline=current_time() + 60)
    async with aclosing(classifier.outcomes(images_at(["a"], download), options)) as outcomes:
        (outcome,) = [outcome async for outcome in outcomes]
    return outcome


def still_loading() -> FakeTriton:
    """A Triton that describes its version 1 and has not loaded it yet."""

    async def is_unknown(call: InferenceCall) -> None:
        raise TritonFailure(StatusCode.NOT_FOUND, f"Request for unknown model: '{call.model}' is not found")

    triton = FakeTriton()
    triton.behaviour = is_unknown
    return triton


async def test_named_version_is_unknown() -> None:
    async with classifier_of(still_loading()) as classifier:
        with pytest.raises(UnknownModelVersion):
            await classify(classifier, VersionRoute("1", is_named=True))


async def test_unnamed_version_is_a_temporary_failure() -> None:
    """The caller made no mistake and may try again: 503."""
    async with classifier_of(still_loading()) as classifier:
        with pytest.raises(TritonUnavailable):
            await classify(classifier, VersionRoute("1"))


@pytest.mark.parametrize("k", [0, 1, 2])
async def test_scores_that_are_not_numbers_fail_the_image_alone(k: int) -> None:
    """The request goes on: other images have answers."""
    triton = FakeTriton({"1": FakeVersion(answer=lambda _: [math.nan] * len(LABELS))})
    async with classifier_of(triton) as classifier:
        assert isinstance((await classify(classifier, VersionRoute("1"), k)).result, InferenceFailed)


async def test_failed_image_is_not_sent_again() -> None:
    """inference/ has already sent it a second time, alone. Another attempt could kill more Python processes."""

    async def die_of_images(call: InferenceCall) -> None:
        if not call.is_probe:
            raise dead_stub()

    triton = FakeTriton()
    triton.behaviour = die_of_images
    async with classifier_of(triton) as classifier:
        assert isinstance((await classify(classifier, VersionRoute("1"))).result, InferenceFailed)
    assert len(triton.images) == 2


class CountedImage(bytes):
    """The bytes of an image, which count how often they are in memory."""

    alive = 0

    def __init__(self, _: bytes) -> None:
        CountedImage.alive += 1

    def __del__(self) -> None:
        CountedImage.alive -= 1


async def test_a_lost_triton_frees_the_images_at_once() -> None:
    """Without a garbage collection: in reference cycles, the images of many requests would fill the memory."""

    async def lose_connection(call: InferenceCall) -> None:
        raise TritonFailure(StatusCode.UNAVAILABLE, "Socket closed")

    async def request(classifier: ImageClassifier) -> str:
        images = images_at("abc", lambda _: nullcontext(CountedImage(flat(RED))))
        options = ClassifyOptions(1, VersionRoute(None), deadline=current_time() + 60)
        try:
            async with aclosing(classifier.outcomes(images, options)) as outcomes:
                return f"{len([outcome async for outcome in outcomes])} outcomes"
        except TritonUnavailable:
            return "unavailable"

    triton = FakeTriton()
    triton.behaviour = lose_connection
    async with classifier_of(triton) as classifier:
        gc.collect()
        gc.disable()
        try:
            assert await request(classifier) == "unavailable"
            await until(lambda: not CountedImage.alive)
        finally:
            gc.enable()
