"""Calls to a Triton that a cancellation can crash run to their end; calls to a newer one are cancelled."""

from __future__ import annotations

import asyncio

import pytest
from anyio import move_on_after

from frontend.errors import DeadlineExceeded
from frontend.inference.client import Inference
from frontend.inference.shielded_calls import ShieldedCalls, survives_cancellation
from tests.support.fake_triton import (
    CANCELLATION_CRASHES_VERSION,
    SAFE_VERSION,
    FakeTriton,
    running_tritons,
)
from tests.support.fake_triton import InferenceCall as Asked
from tests.support.waiting import until


@pytest.mark.parametrize(
    ("version", "survives"),
    [
        ("2.51.0", False),
        ("2.56.0", False),
        ("2.57.0", True),
        ("2.70.0dev", True),
        ("3.0.0", True),
        ("", False),
        ("newest", False),
    ],
)
def test_triton_survives_cancellation_from_2_57_on(version: str, survives: bool) -> None:
    assert survives_cancellation(version) == survives


class Call:
    """Starts a call that ends when it is released."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.end = "not started"

    def __call__(self, grpc_timeout_seconds: float | None) -> asyncio.Task[str]:
        self.grpc_timeout_seconds = grpc_timeout_seconds
        return asyncio.create_task(self._run())

    async def _run(self) -> str:
        self.end = "running"
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.end = "cancelled"
            raise
        self.end = "done"
        return "answer"


async def test_cancelled_caller_waits_until_the_call_is_done() -> None:
    call = Call()
    asking = asyncio.ensure_future(ShieldedCalls().answer(call, 60))
    await until(lambda: call.end == "running")
    for _ in range(3):
        asking.cancel()
        await asyncio.sleep(0.01)
        assert not asking.done()
    call.release.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert call.end == "done"


@pytest.mark.parametrize("cancelled", [False, True])
async def test_call_continues_after_the_deadline_without_its_caller(cancelled: bool) -> None:
    call, calls = Call(), ShieldedCalls()
    asking = asyncio.ensure_future(calls.answer(call, 0.1))
    await until(lambda: call.end == "running")
    if cancelled:
        asking.cancel()
    with pytest.raises(asyncio.CancelledError if cancelled else TimeoutError):
        await asking
    assert call.end == "running"
    assert call.grpc_timeout_seconds is not None
    assert call.grpc_timeout_seconds > 10  # gRPC ends it in the end
    call.release.set()
    await calls.finish()
    assert call.end == "done"


async def test_cancel_scope_does_not_cut_the_call() -> None:
    call = Call()
    asyncio.get_running_loop().call_later(0.2, call.release.set)
    with move_on_after(0.05):
        await ShieldedCalls().answer(call, 60)
    assert call.end == "done"


@pytest.mark.parametrize(("version", "is_cancelled"), [(CANCELLATION_CRASHES_VERSION, False), (SAFE_VERSION, True)])
async def test_only_a_safe_triton_sees_the_cancellation(version: str, is_cancelled: bool) -> None:
    triton, release = FakeTriton(server_version=version), asyncio.Event()

    async def slow(_: Asked) -> None:
        await release.wait()

    triton.behaviour = slow
    async with running_tritons(triton) as url, Inference(url) as inference:
        asking = asyncio.ensure_future(inference.scores(b"image", 1, "1"))
        await until(lambda: triton.images)
        asking.cancel()
        with pytest.raises((asyncio.CancelledError, DeadlineExceeded)):
            await asking
        if is_cancelled:
            await until(lambda: triton.cancelled)
        assert bool(triton.cancelled) == is_cancelled
        release.set()
