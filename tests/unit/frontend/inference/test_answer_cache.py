"""Remembered answers: whose they are, how long they are kept, and what concurrent equal images share."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from frontend.errors import BirdsError, DeadlineExceeded, InferenceFailed
from frontend.inference.answer_cache import AnswerCache
from frontend.inference.client import Inference
from frontend.inference.scores import Row
from frontend.telemetry.metrics import Metrics
from tests.support.fake_triton import (
    CANCELLATION_CRASHES_VERSION,
    FakeTriton,
    FakeVersion,
    TritonFailure,
    rejection,
    running_tritons,
)
from tests.support.fake_triton import InferenceCall as Asked
from tests.support.images import BLUE, RED, flat
from tests.support.waiting import until

PHOTO = flat(RED)
LARGE_PHOTO = flat(RED, "BMP", (600, 600))  # 1 MB: hashed in a thread


@asynccontextmanager
async def asking(triton: FakeTriton, cache_bytes: int = 1_000_000) -> AsyncIterator[tuple[Inference, Metrics]]:
    metrics = Metrics()
    async with running_tritons(triton) as url, Inference(url, cache_bytes, metrics) as inference:
        await inference.catalogue(60)
        yield inference, metrics


async def best(inference: Inference, image: bytes = PHOTO, version: str = "1", timeout_seconds: float = 10) -> str:
    [prediction] = (await inference.scores(image, timeout_seconds, version)).best(1)
    return prediction.bird_name


def count(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics._registry.get_sample_value(f"birds_answer_cache_{name}", labels) or 0


def asked_for(triton: FakeTriton, image: bytes) -> int:
    return triton.images.count(image)


@pytest.mark.parametrize("image", [PHOTO, LARGE_PHOTO], ids=["small", "large"])
async def test_repeated_image_is_not_asked_again(image: bytes) -> None:
    triton = FakeTriton()
    async with asking(triton) as (inference, metrics):
        first = await inference.scores(image, 10, "1")
        again = await inference.scores(image, 10, "1")
    assert again.best(4) == first.best(4)
    assert [prediction.bird_name for prediction in again.best(4, {"Viridis minor", "unknown"})] == ["Viridis minor"]
    assert asked_for(triton, image) == 1
    assert count(metrics, "lookups_total", outcome="hit") == 1
    assert count(metrics, "lookups_total", outcome="miss") == 1
    assert count(metrics, "bytes") > 0


async def test_other_bytes_have_another_answer() -> None:
    triton = FakeTriton()
    async with asking(triton) as (inference, _):
        assert await best(inference, PHOTO) == "Rubra maxima"
        assert await best(inference, PHOTO + b"\0") == "Rubra maxima"
        assert await best(inference, flat(BLUE)) == "Caerulea"
    assert len(set(triton.images)) == 4  # with the image that asked for the labels


def certain(position: int) -> FakeVersion:
    """A version that is sure of one label for every image."""
    row = [float(index == position) for index in range(4)]
    return FakeVersion(fingerprint=f"{position + 1:064x}"[::-1], answer=lambda _: row)


async def test_versions_do_not_share_answers() -> None:
    triton = FakeTriton({"1": certain(0), "2": certain(2)})
    async with asking(triton) as (inference, _):
        for _ in range(2):
            assert await best(inference, version="1") == "Rubra maxima"
            assert await best(inference, version="2") == "Caerulea"


async def test_number_published_again_has_new_answers() -> None:
    triton = FakeTriton({"1": certain(0)})
    async with asking(triton) as (inference, _):
        assert await best(inference) == "Rubra maxima"
        triton.versions["1"] = certain(2)
        await inference.catalogue(60)
        assert await best(inference) == "Caerulea"
        triton.versions["1"] = certain(0)  # and back
        await inference.catalogue(60)
        assert await best(inference) == "Rubra maxima"


async def test_answer_of_unannounced_weights_is_not_remembered() -> None:
    """The catalogue is up to a second old: Triton may have loaded other weights under the number since."""
    triton = FakeTriton({"1": certain(0)})
    async with asking(triton) as (inference, _):
        assert await best(inference, flat(BLUE)) == "Rubra maxima"
        triton.versions["1"] = FakeVersion(labels=["other", "labels"], fingerprint="f" * 64, answer=lambda _: [0, 1])
        assert await best(inference) == "labels"
        triton.versions["1"] = certain(0)
        assert await best(inference) == "Rubra maxima"


async def test_labels_of_unannounced_weights_are_not_kept() -> None:
    triton = FakeTriton({"1": certain(0)})
    async with asking(triton) as (inference, _):
        triton.versions["1"] = FakeVersion(labels=["other", "labels"], fingerprint="f" * 64, answer=lambda _: [0, 1])
        assert await best(inference) == "labels"
        triton.versions["1"] = certain(0)
        assert await best(inference) == "Rubra maxima"


@pytest.mark.parametrize("fingerprint", [None, "1" * 64])
async def test_random_and_unidentified_versions_are_asked_each_time(fingerprint: str | None) -> None:
    triton = FakeTriton({"1": FakeVersion(fingerprint=fingerprint, is_random=fingerprint is not None)})
    async with asking(triton) as (inference, _):
        for _ in range(3):
            assert await best(inference) == "Rubra maxima"
    assert asked_for(triton, PHOTO) == 3


async def test_cache_of_no_bytes_is_off() -> None:
    triton = FakeTriton()
    async with asking(triton, cache_bytes=0) as (inference, metrics):
        for _ in range(3):
            await best(inference)
    assert asked_for(triton, PHOTO) == 3
    assert count(metrics, "lookups_total", outcome="miss") == 0


def slow(triton: FakeTriton, release: asyncio.Event) -> None:
    async def behaviour(asked: Asked) -> None:
        if asked.image == PHOTO:
            await release.wait()

    triton.behaviour = behaviour


async def test_concurrent_equal_images_share_one_question() -> None:
    triton, release = FakeTriton(), asyncio.Event()
    slow(triton, release)
    async with asking(triton) as (inference, metrics):
        asked = [asyncio.ensure_future(best(inference)) for _ in range(50)]
        await until(lambda: count(metrics, "lookups_total", outcome="shared") == 49)
        release.set()
        assert set(await asyncio.gather(*asked)) == {"Rubra maxima"}
    assert asked_for(triton, PHOTO) == 1


@pytest.mark.parametrize("server_version", ["2.57.0", CANCELLATION_CRASHES_VERSION])
async def test_others_ask_once_more_after_a_cancelled_caller(server_version: str) -> None:
    triton, release = FakeTriton(server_version=server_version), asyncio.Event()
    slow(triton, release)
    async with asking(triton) as (inference, _):
        first, *others = [asyncio.ensure_future(best(inference)) for _ in range(5)]
        await until(lambda: asked_for(triton, PHOTO))
        first.cancel()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await asyncio.gather(*others) == ["Rubra maxima"] * 4
    assert asked_for(triton, PHOTO) == 2


async def test_last_cancelled_caller_cancels_the_question() -> None:
    triton, release = FakeTriton(), asyncio.Event()
    slow(triton, release)
    async with asking(triton) as (inference, _):
        asked = [asyncio.ensure_future(best(inference)) for _ in range(3)]
        await until(lambda: asked_for(triton, PHOTO))
        for request in asked:
            request.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        await until(lambda: triton.cancelled == 1)
        release.set()
        assert await best(inference) == "Rubra maxima"
    assert asked_for(triton, PHOTO) == 2


async def test_short_deadline_of_the_first_spares_the_others() -> None:
    triton, release = FakeTriton(), asyncio.Event()
    slow(triton, release)
    async with asking(triton) as (inference, _):
        await best(inference, flat(BLUE))  # the labels are known
        first = asyncio.ensure_future(best(inference, timeout_seconds=2))
        await until(lambda: asked_for(triton, PHOTO))
        other = asyncio.ensure_future(best(inference, timeout_seconds=60))
        with pytest.raises(DeadlineExceeded):
            await first
        release.set()
        assert await other == "Rubra maxima"


async def test_repeated_question_keeps_the_callers_deadline() -> None:
    """A call to a Triton that a cancelled call can crash goes on until the deadline that it was sent with."""
    triton, release = FakeTriton(server_version=CANCELLATION_CRASHES_VERSION), asyncio.Event()
    async with asking(triton) as (inference, metrics):
        await best(inference, flat(BLUE))  # the labels are known
        slow(triton, release)
        before_first = time.monotonic()
        first = asyncio.ensure_future(best(inference, timeout_seconds=2))
        await until(lambda: asked_for(triton, PHOTO))
        other = asyncio.ensure_future(best(inference, timeout_seconds=60))
        await until(lambda: count(metrics, "lookups_total", outcome="shared"))
        after_other = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await first
        await until(lambda: asked_for(triton, PHOTO) == 2)
        release.set()
        assert await other == "Rubra maxima"
    assert triton.inferences[-1].parameters["timeout"] / 1e6 <= after_other + 60 - (before_first + 2)


@pytest.mark.parametrize(
    "failure", [rejection("not_an_image"), TritonFailure(rejection("").code, "any other text")], ids=["image", "model"]
)
async def test_failure_is_not_remembered(failure: TritonFailure) -> None:
    triton = FakeTriton()

    async def fails(asked: Asked) -> None:
        if asked.image == PHOTO:
            raise failure

    async with asking(triton) as (inference, metrics):
        triton.behaviour = fails
        with pytest.raises(BirdsError):
            await best(inference)
        triton.behaviour = None
        assert await best(inference) == "Rubra maxima"
    assert count(metrics, "evictions_total") == 0


async def fresh_row() -> Row:
    return np.frombuffer(bytes(4 * 965), np.float32)


async def test_memory_stays_within_the_limit() -> None:
    """The limit counts what an answer really takes: row, key and their places in the dictionary."""
    metrics, limit = Metrics(), 2_000_000
    cache = AnswerCache(limit, metrics)
    for number in range(10):
        await cache.row(f"warm {number}".encode(), "1" * 64, fresh_row)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(3_000):
            await cache.row(str(number).encode(), "1" * 64, fresh_row)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 1.05 * limit
    assert 0.95 * limit < count(metrics, "bytes") <= limit
    assert count(metrics, "evictions_total") > 2_000


async def test_least_recently_used_answer_goes_first() -> None:
    asked: list[bytes] = []
    cache = AnswerCache(3 * 5_000)

    async def row(image: bytes) -> None:
        async def ask() -> Row:
            asked.append(image)
            return await fresh_row()

        await cache.row(image, "1" * 64, ask)

    for image in (b"a", b"b", b"c", b"a", b"d", b"a", b"b"):
        await row(image)
    assert asked == [b"a", b"b", b"c", b"d", b"b"]


async def test_row_larger_than_the_limit_is_not_kept() -> None:
    cache = AnswerCache(1_000)
    for _ in range(2):
        assert len(await cache.row(b"image", "1" * 64, fresh_row)) == 965
    assert not cache._rows


async def test_error_of_a_shared_question_reaches_all() -> None:
    cache = AnswerCache(1_000_000)
    release = asyncio.Event()

    async def fails() -> Row:
        await release.wait()
        raise InferenceFailed()

    asked = [asyncio.ensure_future(cache.row(b"image", "1" * 64, fails)) for _ in range(3)]
    await asyncio.sleep(0.05)
    release.set()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [InferenceFailed] * 3
