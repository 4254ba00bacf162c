"""Triton's queues when BIRDS_MAX_QUEUE_SIZE limits them: expired images are dropped, and probes still pass."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from frontend.errors import DeadlineExceeded, ImageError, Overloaded
from frontend.inference.client import Inference
from frontend.inference.contract import probe_image
from tests.support.images import RED, flat
from tools.models.repository import read_config
from tools.serve.ports import free_triton_ports
from tools.serve.triton_process import TritonServer
from tools.triton.settings import TritonSettings
from tools.triton.statistics import between, read_statistics

SLOW = flat(RED, "PNG", (5000, 5000))  # a fifth of a second to decode
QUEUE = 16
STEPS = ("preprocess", "classifier")


@pytest.fixture(scope="module")
def short_queues(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A Triton whose queues are short and whose models take one image at a time, so that queued images stay queued."""
    repository = tmp_path_factory.mktemp("short") / "models"
    shutil.copytree(tiny_repository, repository)  # the settings of the queues are written to it
    log = repository.parent / "triton.log"
    settings = TritonSettings(max_batch_size=1, max_queue_size=QUEUE)
    with TritonServer(free_triton_ports(), log, repository, settings=settings) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture
async def inference(short_queues: TritonServer) -> AsyncIterator[Inference]:
    async with Inference(short_queues.grpc_url) as inference:
        yield inference


async def outcome(inference: Inference, timeout_seconds: float) -> str:
    try:
        await inference.scores(SLOW, timeout_seconds)
    except ImageError as error:
        return error.code
    return "ok"


async def test_full_queue_refuses_new_images_only(inference: Inference) -> None:
    codes = Counter(await asyncio.gather(*(outcome(inference, 60) for _ in range(4 * QUEUE))))
    assert set(codes) == {"ok", Overloaded.code}
    assert codes["ok"] >= QUEUE


async def test_expired_image_is_not_decoded(inference: Inference, short_queues: TritonServer) -> None:
    before = read_statistics(short_queues.grpc_url)
    waiting = [asyncio.create_task(outcome(inference, 60)) for _ in range(QUEUE // 2)]
    await asyncio.sleep(0.1)
    impatient = [outcome(inference, 0.05) for _ in range(QUEUE // 2)]
    assert set(await asyncio.gather(*impatient)) == {DeadlineExceeded.code}
    assert set(await asyncio.gather(*waiting)) == {"ok"}
    counts = between(before, read_statistics(short_queues.grpc_url))
    decoded = counts["preprocess"].inferences - len(waiting)
    assert 0 <= decoded < len(impatient) / 2, "on a busy machine, a few may be decoded before they expire"


async def test_probe_passes_a_full_queue(inference: Inference) -> None:
    finished: list[str] = []
    full = asyncio.Event()

    async def user() -> None:
        finished.append(await outcome(inference, 60))
        if finished[-1] == Overloaded.code:
            full.set()

    users = [asyncio.create_task(user()) for _ in range(4 * QUEUE)]
    await full.wait()
    with pytest.raises(Overloaded):
        await inference.scores(probe_image(), 10)
    assert await inference.probe(timeout_seconds=10)
    assert finished.count("ok") < QUEUE / 2, "it did not wait for the queue to empty"
    await asyncio.gather(*users)


@pytest.mark.parametrize("model", STEPS)
def test_without_the_setting_queues_have_no_policy(model: str) -> None:
    """With any policy, Triton leaves requests in the queue of an idle server for half a second."""
    batching = read_config(model).dynamic_batching
    assert not batching.HasField("default_queue_policy")
    assert not batching.priority_levels
