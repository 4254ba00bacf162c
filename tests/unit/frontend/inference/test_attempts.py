"""What is sent again after a failure, and to which server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from anyio import fail_after
from grpc import StatusCode

from frontend.errors import (
    BirdsError,
    DeadlineExceeded,
    InferenceFailed,
    NotAnImage,
    Overloaded,
    TooExpensive,
    TritonUnavailable,
    UnknownModelVersion,
)
from frontend.inference import server_pool
from frontend.inference.client import Inference
from tests.support.fake_triton import (
    CANCELLATION_CRASHES_VERSION,
    FakeTriton,
    FakeVersion,
    TritonFailure,
    dead_stub,
    full_queue,
    rejection,
    running_tritons,
    stopping,
)
from tests.support.fake_triton import InferenceCall as Asked
from tests.support.images import BLUE, GREEN, RED, flat
from tests.support.waiting import until

Behaviour = Callable[[Asked], Awaitable[None]]
POISON = flat((1, 2, 3))


def fails_with(failure: TritonFailure) -> Behaviour:
    async def behaviour(_: Asked) -> None:
        raise failure

    return behaviour


async def outcome(inference: Inference, image: bytes = flat(RED), timeout_seconds: float = 10) -> str:
    try:
        await inference.scores(image, timeout_seconds, "1")
    except BirdsError as error:
        return error.code
    return "ok"


def poisoned(triton: FakeTriton, delay: float = 0.02) -> Behaviour:
    """POISON kills the Python process of `triton`. Every image that is there at that moment fails."""

    async def behaviour(asked: Asked) -> None:
        if asked.image == POISON:
            triton.is_stub_dead = True
        await asyncio.sleep(delay)
        if triton.is_stub_dead:
            raise dead_stub()

    return behaviour


async def test_poison_kills_two_processes_at_most() -> None:
    tritons = [FakeTriton() for _ in range(5)]
    for triton in tritons:
        triton.behaviour = poisoned(triton)
    async with running_tritons(*tritons) as url, Inference(url) as inference:
        assert await outcome(inference, POISON) == InferenceFailed.code
    assert sum(triton.is_stub_dead for triton in tritons) <= 2
    assert sum(triton.images.count(POISON) for triton in tritons) == 2


async def test_images_beside_poison_are_answered() -> None:
    tritons = [FakeTriton() for _ in range(4)]
    for triton in tritons:
        triton.behaviour = poisoned(triton)
    images = [POISON, *(flat(colour) for colour in (RED, GREEN, BLUE) for _ in range(10))]
    async with running_tritons(*tritons) as url, Inference(url) as inference:
        codes = await asyncio.gather(*(outcome(inference, image) for image in images))
    assert codes == [InferenceFailed.code] + ["ok"] * 30


async def test_suspects_are_repeated_one_at_a_time() -> None:
    triton = FakeTriton()
    under_way = most = 0

    async def watched(_: Asked) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)
        under_way -= 1

    died = asyncio.Event()

    async def all_die(_: Asked) -> None:
        await died.wait()
        raise dead_stub()

    triton.behaviour = all_die
    async with running_tritons(triton) as url, Inference(url) as inference:
        asked = [asyncio.ensure_future(outcome(inference)) for _ in range(8)]
        await until(lambda: len(triton.images) == 8)
        triton.behaviour = watched  # the supervisor starts the process again
        died.set()
        assert await asyncio.gather(*asked) == ["ok"] * 8
    assert most == 1


async def test_suspect_keeps_turn_until_its_call_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton before 2.57 must not be cancelled, so a call goes on after its caller's deadline."""
    monkeypatch.setattr(server_pool, "_PROBE_PAUSE_SECONDS", 0.01)
    triton = FakeTriton(server_version=CANCELLATION_CRASHES_VERSION)
    first, second = flat(RED), flat(BLUE)
    may_end = asyncio.Event()

    async def dies_then_waits(asked: Asked) -> None:
        if not asked.is_probe and triton.images.count(asked.image) == 1:
            raise dead_stub()
        if asked.image == first:
            await may_end.wait()

    triton.behaviour = dies_then_waits
    async with running_tritons(triton) as url, Inference(url) as inference:
        late = asyncio.ensure_future(outcome(inference, first, timeout_seconds=4))
        await until(lambda: triton.images.count(first) == 2)
        waiting = asyncio.ensure_future(outcome(inference, second, timeout_seconds=60))
        assert await late == DeadlineExceeded.code
        await asyncio.sleep(0.3)  # it could be sent now, by mistake
        assert triton.images.count(second) == 1
        may_end.set()
        assert await waiting == "ok"


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(dead_stub(), id="dead process"),
        pytest.param(full_queue(), id="full queue"),
        pytest.param(stopping(), id="stopping"),
        pytest.param(TritonFailure(StatusCode.CANCELLED, "CANCELLED"), id="cancelled by the server"),
        pytest.param(TritonFailure(StatusCode.NOT_FOUND, "unknown model: 'birds_v1'"), id="missing version"),
    ],
)
async def test_another_server_does_what_one_cannot(failure: TritonFailure) -> None:
    failing = FakeTriton()
    sound = FakeTriton({"1": FakeVersion(answer=lambda _: [0.7, 0.1, 0.1, 0.1])})  # which takes no time
    failing.behaviour = fails_with(failure)
    large = bytes(5_000_000)
    async with running_tritons(failing, sound) as url, Inference(url) as inference:
        with fail_after(60):
            while not failing.images:  # the sound server may be connected first
                assert await outcome(inference, large) == "ok"
        assert [await outcome(inference, large) for _ in range(6)] == ["ok"] * 6


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (rejection("not_an_image"), NotAnImage),
        (rejection("too_expensive"), TooExpensive),
        (TritonFailure(StatusCode.INTERNAL, "the model raised an exception"), InferenceFailed),
        (TritonFailure(StatusCode.UNAVAILABLE, "in ensemble 'birds', Request timeout expired"), DeadlineExceeded),
        (TritonFailure(StatusCode.UNIMPLEMENTED, ""), InferenceFailed),
        (full_queue(), Overloaded),
    ],
    ids=lambda value: value.message if isinstance(value, TritonFailure) else value.code,
)
async def test_final_failures_are_asked_once(failure: TritonFailure, error: type[BirdsError]) -> None:
    triton = FakeTriton()
    triton.behaviour = fails_with(failure)
    async with running_tritons(triton) as url, Inference(url) as inference:
        assert await outcome(inference) == error.code
    assert len(triton.images) == 1


async def test_full_servers_are_not_asked_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_pool, "_FULL_SECONDS", 600.0)
    tritons = [FakeTriton() for _ in range(3)]
    async with running_tritons(*tritons) as url, Inference(url) as inference:
        while not all(triton.images for triton in tritons):
            await outcome(inference)
        for triton in tritons:
            triton.behaviour = fails_with(full_queue())
            triton.inferences.clear()
        while not all(triton.images for triton in tritons):
            assert await outcome(inference) == Overloaded.code
        for triton in tritons:
            triton.inferences.clear()
        codes = await asyncio.gather(*(outcome(inference) for _ in range(100)))
    assert set(codes) == {Overloaded.code}
    assert sum(len(triton.images) for triton in tritons) == len(codes)


async def test_slow_refusals_are_not_repeated_for_ever() -> None:
    tritons = [FakeTriton() for _ in range(2)]

    async def slowly_refuses(_: Asked) -> None:
        await asyncio.sleep(0.15)
        raise full_queue()

    for triton in tritons:
        triton.behaviour = slowly_refuses
    async with running_tritons(*tritons) as url, Inference(url) as inference:
        assert await outcome(inference, timeout_seconds=5) == Overloaded.code
    assert sum(len(triton.images) for triton in tritons) <= 2


async def test_unknown_version_is_asked_for_five_times() -> None:
    triton = FakeTriton()
    async with running_tritons(triton) as url, Inference(url) as inference:
        with pytest.raises(UnknownModelVersion):
            await inference.scores(flat(RED), 10, "7")
    assert len(triton.images) == 5


async def test_lost_connection_is_repeated_once() -> None:
    """Images on a server that is killed may have killed it."""
    tritons = [FakeTriton() for _ in range(3)]
    stops: list[asyncio.Task[None]] = []
    for triton in tritons:

        async def killed(_: Asked, triton: FakeTriton = triton) -> None:
            stops.append(asyncio.create_task(triton.stop()))
            await asyncio.sleep(30)

        triton.behaviour = killed
    async with running_tritons(*tritons) as url, Inference(url) as inference:
        assert await outcome(inference) == TritonUnavailable.code
        await asyncio.gather(*stops)
    assert sum(len(triton.images) for triton in tritons) == 2


async def test_another_server_does_a_killed_servers_work() -> None:
    killed, sound = FakeTriton(), FakeTriton()

    async def never(_: Asked) -> None:
        await asyncio.sleep(30)

    killed.behaviour = never
    async with running_tritons(killed, sound) as url, Inference(url) as inference:
        asked = [asyncio.ensure_future(outcome(inference)) for _ in range(60)]
        await until(lambda: len(killed.images) + len(sound.images) == 60)
        await killed.stop()
        assert await asyncio.gather(*asked) == ["ok"] * 60


async def test_attempts_share_one_deadline() -> None:
    triton = FakeTriton()

    async def slowly_dies(_: Asked) -> None:
        await asyncio.sleep(0.2)
        raise dead_stub()

    triton.behaviour = slowly_dies
    async with running_tritons(triton) as url, Inference(url) as inference:
        assert await outcome(inference, timeout_seconds=0.7) in (TritonUnavailable.code, DeadlineExceeded.code)
