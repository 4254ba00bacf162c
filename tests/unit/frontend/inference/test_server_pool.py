"""Which servers get requests: real gRPC servers that come and go as pods do."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from anyio import fail_after, move_on_after

from frontend.errors import BirdsError, DeadlineExceeded, TritonUnavailable
from frontend.inference import server_pool
from frontend.inference.client import Inference
from tests.support.fake_triton import (
    CANCELLATION_CRASHES_VERSION,
    SAFE_VERSION,
    FakeTriton,
    dead_stub,
    full_queue,
    running_tritons,
)
from tests.support.fake_triton import InferenceCall as Asked
from tests.support.images import RED, flat
from tests.support.name_server import NAME, NameServer
from tests.support.waiting import until
from tools.serve.ports import free_port

PHOTO = flat(RED)


async def ask(inference: Inference, timeout_seconds: float = 10) -> None:
    await inference.scores(PHOTO, timeout_seconds, "1")


async def settle(inference: Inference, *tritons: FakeTriton) -> None:
    """Return when every server has been asked, and forget what they were asked."""
    while not all(triton.images for triton in tritons):
        await ask(inference)
    for triton in tritons:
        triton.inferences.clear()


async def test_requests_go_round() -> None:
    tritons = [FakeTriton() for _ in range(3)]
    async with running_tritons(*tritons) as url, Inference(url) as inference:
        await settle(inference, *tritons)
        await asyncio.gather(*(ask(inference) for _ in range(60)))
    assert [len(triton.images) for triton in tritons] == [20, 20, 20]


async def test_dead_process_gets_no_images_before_a_probe() -> None:
    dead, sound = FakeTriton(), FakeTriton()
    async with running_tritons(dead, sound) as url, Inference(url) as inference:
        await settle(inference, dead, sound)
        dead.is_stub_dead = True
        while not dead.images:
            await ask(inference)
        dead.inferences.clear()
        for _ in range(20):
            await ask(inference)
        await until(lambda: dead.inferences)  # a probe
        assert dead.images == []
        dead.is_stub_dead = False
        while not dead.images:
            await ask(inference)


async def test_process_of_one_version_leaves_the_others_served() -> None:
    triton = FakeTriton()
    triton.versions["2"] = triton.versions["1"]

    async def second_is_dead(asked: Asked) -> None:
        if asked.model == "birds_v2":
            raise dead_stub("classifier")

    triton.behaviour = second_is_dead
    async with running_tritons(triton) as url, Inference(url) as inference:
        with pytest.raises(TritonUnavailable):
            await inference.scores(PHOTO, 3, "2")
        await ask(inference)


async def test_full_server_stays_in_turn() -> None:
    """If it were left out, the load would be too much for the other servers too."""
    full, sound = FakeTriton(), FakeTriton()
    count = 0

    async def nine_in_ten(_: Asked) -> None:
        nonlocal count
        count += 1
        if count % 10:
            raise full_queue()

    full.behaviour = nine_in_ten
    async with running_tritons(full, sound) as url, Inference(url) as inference:
        await settle(inference, full, sound)
        for _ in range(5):
            await asyncio.gather(*(ask(inference) for _ in range(20)))
            await asyncio.sleep(0.15)
    assert len(full.images) >= 5


async def test_triton_never_reached_fails_requests_at_once() -> None:
    async with Inference(f"127.0.0.1:{free_port()}") as inference:
        with fail_after(60):
            with pytest.raises(TritonUnavailable):
                await ask(inference, 600)
            assert not await inference.probe(600)


async def test_requests_wait_for_a_lost_triton() -> None:
    triton = FakeTriton()
    async with running_tritons(triton) as url, Inference(url) as inference:
        await ask(inference)
        await triton.stop()
        waiting = [asyncio.ensure_future(ask(inference, 60)) for _ in range(20)]
        await until(lambda: triton.server is None)
        await asyncio.sleep(0.5)
        assert not any(request.done() for request in waiting)
        assert not await inference.probe(5), "a probe does not wait"
        await triton.start()
        await asyncio.gather(*waiting)


async def test_waiting_ends_before_the_deadline_with_the_reason() -> None:
    triton = FakeTriton()
    async with running_tritons(triton) as url, Inference(url) as inference:
        await ask(inference)
        await triton.stop()
        with pytest.raises(TritonUnavailable):
            await ask(inference, 1)


async def test_nobody_waits_for_a_triton_lost_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_pool, "RECOVERY_SECONDS", 0.2)
    triton = FakeTriton()
    async with running_tritons(triton) as url, Inference(url) as inference:
        await ask(inference)
        await triton.stop()
        await until(lambda: not inference.is_recovery_likely())
        with fail_after(60), pytest.raises(TritonUnavailable):
            await ask(inference, 600)


async def test_silent_triton_gets_no_requests() -> None:
    """It accepts connections, but answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with Inference(f"127.0.0.1:{silent.getsockname()[1]}") as inference:
            with pytest.raises((TritonUnavailable, DeadlineExceeded)):
                await ask(inference, 3)


async def test_deadline_is_not_taken_for_a_cancellation() -> None:
    """gRPC replaces the error with which anyio cancels, which once let it escape from the scope."""
    triton = FakeTriton()

    async def slow(_: Asked) -> None:
        await asyncio.sleep(2)

    async with running_tritons(triton) as url, Inference(url) as inference:
        await ask(inference)
        triton.behaviour = slow
        with move_on_after(0.2) as scope:
            await ask(inference, 10)
        assert scope.cancelled_caught


@pytest.mark.parametrize("second_version", [SAFE_VERSION, CANCELLATION_CRASHES_VERSION])
async def test_only_safe_servers_see_cancellations(second_version: str) -> None:
    """During a rolling upgrade some servers survive a cancelled call, and others do not."""
    tritons = [FakeTriton(server_version=SAFE_VERSION), FakeTriton(server_version=second_version)]

    release = asyncio.Event()

    async def slow(_: Asked) -> None:
        await release.wait()

    async with running_tritons(*tritons) as url, Inference(url) as inference:
        await settle(inference, *tritons)
        for triton in tritons:
            triton.behaviour = slow
        requests = [asyncio.ensure_future(ask(inference, 60)) for _ in range(10)]
        await until(lambda: sum(len(triton.images) for triton in tritons) == 10)
        for request in requests:
            request.cancel()
        await until(lambda: tritons[0].cancelled == 5)
        release.set()
        await asyncio.gather(*requests, return_exceptions=True)
        assert tritons[1].cancelled == (5 if second_version == SAFE_VERSION else 0)


class Pods:
    """Fake Tritons on 127.0.0.1, 127.0.0.2, …, one port, whose addresses a name server lists."""

    def __init__(self, names: NameServer) -> None:
        self.names = names
        self.port = free_port()
        self.running: list[FakeTriton] = []
        self._count = 0

    async def add(self) -> FakeTriton:
        self._count += 1
        host = f"127.0.0.{self._count}"
        triton = FakeTriton()
        await triton.start(f"{host}:{self.port}")
        self.running.append(triton)
        self.names.addresses.append(host)
        return triton

    async def remove(self, triton: FakeTriton, grace_seconds: float | None) -> None:
        """End a pod: its address leaves the name first, and then the server ends."""
        self.names.addresses.remove(triton.address.partition(":")[0])
        self.running.remove(triton)
        await triton.stop(grace_seconds)

    @property
    def url(self) -> str:
        return f"dns://{self.names.address}/{NAME}:{self.port}"


@asynccontextmanager
async def running_pods(count: int, cached_seconds: float = 0) -> AsyncIterator[Pods]:
    with NameServer(cached_seconds=cached_seconds) as names:
        pods = Pods(names)
        try:
            for _ in range(count):
                await pods.add()
            yield pods
        finally:
            await asyncio.gather(*(triton.stop() for triton in pods.running))


async def test_last_loss_triggers_frequent_lookups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_pool, "_LOOKUP_SECONDS", 600.0)
    async with running_pods(1) as pods, Inference(pods.url) as inference:
        await ask(inference)
        await asyncio.sleep(0.5)
        [pod] = pods.running
        await pods.remove(pod, None)
        lost_at = time.monotonic()
        await until(lambda: len([moment for moment in pods.names.asked_at if moment > lost_at]) >= 5)
        await pods.add()
        await ask(inference, 60)


async def test_new_address_gets_requests_before_the_old_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_pool, "_LOOKUP_SECONDS", 0.3)
    async with running_pods(1) as pods, Inference(pods.url) as inference:
        await ask(inference)
        new = await pods.add()
        await until(lambda: len(inference._pool._servers) == 2)
        while not new.images:
            await ask(inference)


async def test_removed_address_gets_no_new_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_pool, "_LOOKUP_SECONDS", 0.3)
    async with running_pods(2) as pods, Inference(pods.url) as inference:
        old = pods.running[0]
        await settle(inference, *pods.running)
        pods.names.addresses.remove("127.0.0.1")
        await until(lambda: len(inference._pool._servers) == 1)
        old.inferences.clear()
        for _ in range(10):
            await ask(inference)
        assert old.images == []


async def test_catalogue_call_keeps_a_removed_server_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing its channel would cancel the call, and everyone who waits for the catalogue with it."""
    monkeypatch.setattr(server_pool, "_LOOKUP_SECONDS", 0.3)
    async with running_pods(2) as pods, Inference(pods.url) as inference:
        await settle(inference, *pods.running)
        for pod in pods.running:
            pod.catalogue_seconds = 1
        questions = [asyncio.ensure_future(inference.catalogue(60)) for _ in range(2)]  # one to each server
        await asyncio.sleep(0.1)
        pods.names.addresses.remove("127.0.0.1")
        assert [catalogue.default for catalogue in await asyncio.gather(*questions)] == ["1", "1"]
        await until(lambda: len(inference._pool._servers) == 1)


async def test_name_that_vanishes_leaves_known_servers_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_pool, "_LOOKUP_SECONDS", 0.3)
    async with running_pods(1) as pods, Inference(pods.url) as inference:
        await ask(inference)
        pods.names.addresses.clear()
        count = len(pods.names.asked_at)
        await until(lambda: len(pods.names.asked_at) >= count + 3)
        await ask(inference)


# Figures of a cluster divided by 25: answers cached for 30 s, a pod that overlaps with its replacement for 50 s.
_CACHED_SECONDS, _OVERLAP_SECONDS = 1.2, 2.0


@pytest.mark.parametrize("replicas", [1, 2])
async def test_rollout_loses_no_request(replicas: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_pool, "_LOOKUP_SECONDS", 0.3)
    outcomes: Counter[str] = Counter()
    async with running_pods(replicas, _CACHED_SECONDS) as pods, Inference(pods.url) as inference:

        async def load() -> None:
            while True:
                try:
                    await ask(inference, 60)
                    outcomes["ok"] += 1
                except BirdsError as error:
                    outcomes[error.code] += 1
                await asyncio.sleep(0.02)

        loads = [asyncio.ensure_future(load()) for _ in range(4)]
        old = list(pods.running)
        for pod in old:  # one at a time, as a rolling update does
            await pods.add()
            pods.names.addresses.remove(pod.address.partition(":")[0])
            pods.running.remove(pod)
            await asyncio.sleep(_OVERLAP_SECONDS)
            await pod.stop(0.5)
        for request in loads:
            request.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
    assert set(outcomes) == {"ok"}
    assert outcomes["ok"] > 10


@pytest.mark.parametrize("replicas", [1, 2])
async def test_drain_without_overlap_loses_no_request(replicas: int) -> None:
    """All pods go, and their replacements come 1 s later, behind a cache: requests wait."""
    outcomes: Counter[str] = Counter()
    async with running_pods(replicas, cached_seconds=2) as pods, Inference(pods.url) as inference:

        async def load() -> None:
            while True:
                try:
                    await ask(inference, 60)
                    outcomes["ok"] += 1
                except BirdsError as error:
                    outcomes[error.code] += 1
                await asyncio.sleep(0.02)

        loads = [asyncio.ensure_future(load()) for _ in range(4)]
        await until(lambda: outcomes["ok"] > 20)
        for pod in list(pods.running):
            await pods.remove(pod, 0.5)
        await asyncio.sleep(1)
        news = [await pods.add() for _ in range(replicas)]
        await until(lambda: all(new.images for new in news))
        for request in loads:
            request.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
    assert set(outcomes) == {"ok"}
