"""The catalogue of versions: one call serves all callers, and no caller waits past its own deadline."""

from __future__ import annotations

import asyncio

import pytest
from anyio import fail_after

from frontend.errors import TritonUnavailable, UnknownModelVersion
from frontend.inference import versions as versions_module
from frontend.inference.client import Inference
from frontend.inference.versions import Catalogue, ModelVersion, ModelVersions, VersionRoute
from tests.support.fake_triton import FakeTriton, FakeVersion, running_tritons
from tests.support.waiting import until

ONE = Catalogue("1", {"1": ModelVersion("1", 4, None, None, None)})
TWO = Catalogue("2", {"2": ModelVersion("2", 4, None, None, None)})


class Question:
    """Answers after `release` is set, with `answer` or by raising TritonUnavailable."""

    def __init__(self, answer: Catalogue | None = ONE) -> None:
        self.answer = answer
        self.asked = 0
        self.release = asyncio.Event()

    async def __call__(self, timeout_seconds: float) -> Catalogue:
        self.asked += 1
        await self.release.wait()
        if self.answer is None:
            raise TritonUnavailable()
        return self.answer


async def test_all_callers_share_one_question() -> None:
    question = Question()
    versions = ModelVersions(question)
    callers = [asyncio.ensure_future(versions.choose(None)) for _ in range(50)]
    await until(lambda: question.asked)
    question.release.set()
    assert set(await asyncio.gather(*callers)) == {VersionRoute("1")}
    assert question.asked == 1


async def test_thirteenth_caller_waits_no_longer_than_the_first() -> None:
    """One after the other, with 5 s each, the thirteenth waited 65 s."""
    question = Question(None)
    versions = ModelVersions(question)
    callers = [asyncio.ensure_future(versions.choose(None)) for _ in range(13)]
    await until(lambda: question.asked)
    question.release.set()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {TritonUnavailable}
    assert question.asked == 1


async def test_failure_is_remembered_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    question = Question(None)
    question.release.set()
    versions = ModelVersions(question)
    for _ in range(5):
        with pytest.raises(TritonUnavailable):
            await versions.choose(None)
    assert question.asked == 1
    monkeypatch.setattr(versions_module, "_FRESH_SECONDS", 0.0)
    question.answer = ONE
    assert await versions.choose(None) == VersionRoute("1")


async def test_callers_deadline_bounds_its_wait_alone() -> None:
    question = Question()
    versions = ModelVersions(question)
    patient = asyncio.ensure_future(versions.choose(None, timeout_seconds=600))
    await until(lambda: question.asked)
    with pytest.raises(TritonUnavailable):
        await versions.choose(None, timeout_seconds=0.1)
    assert not patient.done()
    question.release.set()
    assert await patient == VersionRoute("1")
    assert question.asked == 1


async def test_fresh_question_starts_after_the_caller_asked() -> None:
    question = Question(ONE)
    versions = ModelVersions(question)
    before = asyncio.ensure_future(versions.choose(None))
    await until(lambda: question.asked == 1)
    after = asyncio.ensure_future(versions.choose(None, fresh=True))
    await asyncio.sleep(0.01)
    question.release.set()
    await before
    question.answer = TWO
    assert await after in (VersionRoute("2"), VersionRoute("1"))
    assert question.asked == 2


@pytest.mark.parametrize("is_likely", [True, False])
async def test_last_known_catalogue_serves_while_recovery_is_likely(
    is_likely: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = Question()
    question.release.set()
    versions = ModelVersions(question, is_recovery_likely=lambda: is_likely)
    await versions.choose(None)
    monkeypatch.setattr(versions_module, "_FRESH_SECONDS", -1.0)
    question.answer = None
    if is_likely:
        assert await versions.choose(None) == VersionRoute("1")
        with pytest.raises(UnknownModelVersion):
            await versions.choose("7")
    else:
        with pytest.raises(TritonUnavailable):
            await versions.choose(None)
    with pytest.raises(TritonUnavailable):
        await versions.catalogue()


async def test_catalogue_of_a_slow_triton_ends_in_time() -> None:
    triton = FakeTriton()
    triton.catalogue_seconds = 600
    async with running_tritons(triton) as url, Inference(url) as inference:
        with fail_after(60), pytest.raises(TritonUnavailable):
            await inference.catalogue(0.5)


async def test_catalogue_describes_versions() -> None:
    triton = FakeTriton({"2": FakeVersion(fingerprint=None), "10": FakeVersion(fingerprint="a" * 64, is_random=True)})
    async with running_tritons(triton) as url, Inference(url) as inference:
        catalogue = await inference.catalogue(60)
    assert catalogue.default == "2"
    assert list(catalogue.versions) == ["2", "10"]
    assert catalogue.versions["2"].fingerprint is None
    assert catalogue.versions["10"] == ModelVersion("10", 4, "fake", "openvino", None, "a" * 64, is_random=True)


async def test_catalogue_comes_from_any_server_that_has_one() -> None:
    failing, sound = FakeTriton(), FakeTriton()
    failing.catalogue_failure = None
    async with running_tritons(failing, sound) as url, Inference(url) as inference:
        await failing.stop()
        for _ in range(4):
            assert (await inference.catalogue(60)).default == "1"


async def test_canary_takes_its_share_of_names() -> None:
    question = Question(Catalogue("1", {**ONE.versions, **TWO.versions}))
    question.release.set()
    route = await ModelVersions(question, "2", 10).choose(None)
    share = sum(route.of(f"https://example.org/{number}.jpg") == "2" for number in range(5_000)) / 5_000
    assert 0.08 < share < 0.12
