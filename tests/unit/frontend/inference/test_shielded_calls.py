"""Calls to a Triton that must not be cancelled run to their end; to a sound one they are cancelled."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from anyio import move_on_after
from grpc import aio
from tritonclient.grpc import service_pb2, service_pb2_grpc

from frontend.errors import DeadlineExceeded
from frontend.inference.client import Inference
from frontend.inference.shielded_calls import ShieldedCalls, survives_cancellation


@pytest.mark.parametrize(
    ("version", "stands"),
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
def test_versions(version: str, stands: bool) -> None:
    assert survives_cancellation(version) == stands


class Call:
    """A call that takes as long as it is told."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.end = "running"

    async def __call__(self, client_timeout: float | None) -> str:
        self.client_timeout = client_timeout
        try:
            await asyncio.sleep(self._seconds)
        except asyncio.CancelledError:
            self.end = "cancelled"
            raise
        self.end = "done"
        return "answer"


async def test_who_is_cancelled_waits_until_the_call_is_done() -> None:
    call = Call(0.2)
    asking = asyncio.ensure_future(ShieldedCalls().answer(call, 60))
    await asyncio.sleep(0.05)
    for _ in range(3):
        asking.cancel()
        await asyncio.sleep(0.01)
        assert not asking.done()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert call.end == "done"


@pytest.mark.parametrize("cancelled", [False, True])
async def test_after_the_deadline_nobody_waits_and_the_call_goes_on(cancelled: bool) -> None:
    call, calls = Call(0.5), ShieldedCalls()
    asking = asyncio.ensure_future(calls.answer(call, 0.1))
    if cancelled:
        await asyncio.sleep(0.05)
        asking.cancel()
    with pytest.raises(asyncio.CancelledError if cancelled else TimeoutError):
        await asking
    assert call.end == "running"
    assert call.client_timeout is not None
    assert call.client_timeout > 10  # gRPC ends it some day
    await calls.finish()
    assert call.end == "done"


async def test_a_cancel_scope_that_ends_earlier_does_not_cut_the_call_either() -> None:
    call = Call(0.2)
    with move_on_after(0.05):
        await ShieldedCalls().answer(call, 60)
    assert call.end == "done"


class Triton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """A server that names a version and takes long for an inference."""

    def __init__(self, version: str) -> None:
        self._version = version
        self.asked, self.cancelled = asyncio.Event(), asyncio.Event()

    async def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ServerMetadataResponse(name="triton", version=self._version)

    async def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        answer = service_pb2.ModelConfigResponse()
        answer.config.name = request.name
        answer.config.ensemble_scheduling.step.add(model_name="classifier", model_version=-1)
        return answer

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked.set()
        try:
            await asyncio.sleep(3)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@pytest.mark.parametrize(("version", "cut"), [("2.51.0", False), ("2.57.0", True)])
async def test_a_sound_triton_is_told_that_nobody_waits(version: str, cut: bool) -> None:
    server, triton = aio.server(), Triton(version)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(triton, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with Inference(f"127.0.0.1:{port}") as inference:
            await inference.catalogue(5)
            started = time.monotonic()
            asking = asyncio.ensure_future(inference.classify(b"image", 1, 1, "1"))
            await triton.asked.wait()
            asking.cancel()
            with pytest.raises((asyncio.CancelledError, DeadlineExceeded)):
                await asking
            assert time.monotonic() - started < 10
            if cut:
                await asyncio.wait_for(triton.cancelled.wait(), 5)
            assert triton.cancelled.is_set() == cut
    finally:
        await server.stop(0)
