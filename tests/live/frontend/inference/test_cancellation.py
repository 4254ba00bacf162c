"""Triton survives clients that hang up, and deadlines that pass, at the moment of its answer."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest

from frontend.errors import DeadlineExceeded
from frontend.inference.client import Inference
from tests.support.images import flat
from tools.serve.triton_process import TritonServer

CALLS, CLIENTS = 600, 64
IMAGES = [flat((number, 99, 7)) for number in range(20)]


async def hang_up(inference: Inference, moment: float) -> None:
    call = asyncio.ensure_future(inference.scores(random.choice(IMAGES), 20, "1"))
    await asyncio.sleep(moment)
    call.cancel()
    await call


async def run_out_of_time(inference: Inference, moment: float) -> None:
    await inference.scores(random.choice(IMAGES), moment + 0.001, "1")


@pytest.mark.parametrize("end", [hang_up, run_out_of_time])
async def test_calls_that_end_early_leave_triton_alive(triton: TritonServer, end: object) -> None:
    assert callable(end)
    chance, ended = random.Random(1), 0

    async def client(inference: Inference) -> None:
        nonlocal ended
        while ended < CALLS:
            with suppress(asyncio.CancelledError, DeadlineExceeded):
                await end(inference, chance.uniform(0, 0.05))
            ended += 1

    async with Inference(triton.grpc_url) as inference:
        await asyncio.gather(*(client(inference) for _ in range(CLIENTS)))
        assert triton.poll() is None
        assert await inference.probe(10)
