"""Triton's queues: bounded, dropped when nobody waits any more, and with a way past them for probes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from frontend.errors import DeadlineExceeded, ImageError, Overloaded
from frontend.inference import Inference
from frontend.probe_image import PROBE_IMAGE
from tests.conftest import copy_templates, install_classifier
from tests.images import RED, flat
from tests.ports import free_triton_ports
from tests.tiny_model import LABELS
from tools.model_repository import read_config, read_live_config
from tools.triton_server import TritonServer
from tools.triton_settings import TritonSettings
from tools.triton_statistics import between, read_statistics

SLOW = flat(RED, "PNG", (5000, 5000))  # a fifth of a second to decode
QUEUE = 16
STEPS = ("preprocess", "classifier")


@pytest.fixture(scope="module")
def short_queues(tiny_savedmodel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A Triton whose steps let few wait and take one image at a time: what is queued stays there for a while."""
    repository = tmp_path_factory.mktemp("short") / "models"
    copy_templates(repository)
    install_classifier(repository, tiny_savedmodel, LABELS)
    for model in STEPS:
        path = repository / model / "config.pbtxt"
        config = path.read_text()
        assert "max_queue_size: 256" in config
        path.write_text(config.replace("max_queue_size: 256", f"max_queue_size: {QUEUE}"))
    log = repository.parent / "triton.log"
    with TritonServer(free_triton_ports(), log, repository, settings=TritonSettings(max_batch_size=1)) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture
async def inference(short_queues: TritonServer) -> AsyncIterator[Inference]:
    async with Inference(short_queues.grpc_url) as inference:
        yield inference


async def outcome(inference: Inference, timeout_seconds: float) -> str:
    try:
        await inference.classify(SLOW, 1, timeout_seconds)
    except ImageError as error:
        return error.code
    return "ok"


async def test_who_comes_when_the_queue_is_full_is_refused_at_once_and_those_before_are_answered(
    inference: Inference,
) -> None:
    codes = Counter(await asyncio.gather(*(outcome(inference, 60) for _ in range(4 * QUEUE))))
    assert set(codes) == {"ok", Overloaded.code}
    assert codes["ok"] >= QUEUE


async def test_an_image_that_nobody_waits_for_any_more_is_not_decoded(
    inference: Inference, short_queues: TritonServer
) -> None:
    before = read_statistics(short_queues.grpc_url)
    waiting = [asyncio.create_task(outcome(inference, 60)) for _ in range(QUEUE // 2)]
    await asyncio.sleep(0.1)
    impatient = [outcome(inference, 0.05) for _ in range(QUEUE // 2)]
    assert set(await asyncio.gather(*impatient)) == {DeadlineExceeded.code}
    assert set(await asyncio.gather(*waiting)) == {"ok"}
    counts = between(before, read_statistics(short_queues.grpc_url))
    assert counts["preprocess"].inferences == len(waiting)


async def test_a_probe_is_answered_past_a_full_queue(inference: Inference) -> None:
    finished: list[str] = []
    full = asyncio.Event()

    async def user() -> None:
        finished.append(await outcome(inference, 60))
        if finished[-1] == Overloaded.code:
            full.set()

    users = [asyncio.create_task(user()) for _ in range(4 * QUEUE)]
    await full.wait()
    with pytest.raises(Overloaded):
        await inference.classify(PROBE_IMAGE, 1, 10)
    assert await inference.probe(timeout_seconds=10)
    assert finished.count("ok") < QUEUE / 2, "it did not wait for the queue to empty"
    await asyncio.gather(*users)


@pytest.mark.parametrize("model", STEPS)
def test_the_live_configuration_keeps_the_queue_policy(short_queues: TritonServer, model: str) -> None:
    repository = short_queues.log.parent / "models"
    policy = read_live_config(model, repository).dynamic_batching
    assert policy == read_config(model, repository).dynamic_batching
    assert policy.default_queue_policy.allow_timeout_override
    assert policy.default_queue_policy.default_timeout_microseconds > 0, "0 would disable the requests' own timeouts"
