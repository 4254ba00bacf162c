"""Sends one inference to the servers of a pool, and decides after each failure whether to send it again.

An image can kill the Python process that decodes it. An image that was with a process or server when it died is
therefore sent once more at most, and alone: only one such image is at Triton at any time, so a second death
affects no other. An image that certainly did not reach a model may be sent again until the deadline.
"""

from __future__ import annotations

import asyncio
import time
from math import inf, isinf
from typing import Any

from anyio import fail_after
from grpc import aio

from frontend.errors import DeadlineExceeded, InferenceFailed, TritonUnavailable
from frontend.inference.failures import AttemptFailure, ModelNotFound, failure_of, translated
from frontend.inference.infer_request import InferRequest
from frontend.inference.server_pool import NoServer, ServerPool, TritonPeer
from frontend.inference.shielded_calls import Call, ShieldedCalls, cancellable_answer

_PAUSE_SECONDS = 0.05
_MAX_ATTEMPTS = 5  # after NOT_FOUND, which a server answers for a moment while it loads a version
# A request that waits for a server ends this much before its deadline, so that it can say what it waited for.
_REPORT_SECONDS = 0.25

Response = Any  # service_pb2.ModelInferResponse, which carries no types
Metadata = tuple[tuple[str, str], ...]

_DEATHS = (AttemptFailure.STUB_DIED, AttemptFailure.CONNECTION_LOST)


class Attempts:
    """Sends inferences; call `finish` before the channels are closed."""

    def __init__(self, pool: ServerPool) -> None:
        self._pool = pool
        self._shielded = ShieldedCalls()
        self._suspect_lock = asyncio.Lock()

    async def infer(
        self, request: InferRequest, timeout_seconds: float | None, metadata: Metadata = (), is_probe: bool = False
    ) -> Response:
        """Return the answer to `request` of the first server that gives one.

        While no server is available, the request waits as long as a lost server is likely to return. A probe does not
        wait, and may be repeated after a process died, because its image is known to be harmless.

        Raises ModelNotFound, TritonUnavailable when no server works, or the ImageError that Triton's last answer means.
        """
        end = inf if timeout_seconds is None else time.monotonic() + timeout_seconds
        failures: list[AttemptFailure] = []
        failed_on: set[TritonPeer] = set()
        turn: _SuspectTurn | None = None
        try:
            while True:
                server = await self._choose(request.model, end, failed_on, is_probe)
                try:
                    return await self._send(server, request, end, metadata, turn)
                except aio.AioRpcError as error:
                    failures.append(failure_of(error))
                    self._note(server, request.model, failures[-1])
                    if (final := self._final_error(failures, server, request.model, error, is_probe)) is not None:
                        raise final from error
                if failures[-1] in _DEATHS and not is_probe:
                    await self._choose(request.model, end, failed_on, is_probe)  # wait before taking the turn
                    turn = await self._suspect_turn(end)
                failed_on.add(server)
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            if turn is not None:
                turn.leave()

    async def infer_on(self, server: TritonPeer, request: InferRequest, timeout_seconds: float) -> Response:
        """Send `request` to `server`, once. Raises aio.AioRpcError, DeadlineExceeded."""
        return await self._send(server, request, time.monotonic() + timeout_seconds, ())

    async def finish(self) -> None:
        """Wait a few seconds for calls that must not be cancelled."""
        await self._shielded.finish()

    async def _choose(self, model: str, end: float, avoid: set[TritonPeer], is_probe: bool) -> TritonPeer:
        try:
            return await self._pool.choose(model, end - _REPORT_SECONDS, not is_probe, avoid)
        except NoServer:
            # Until the first connection attempt has ended, nobody knows whether Triton is available.
            raise (TritonUnavailable() if self._pool.is_settled else DeadlineExceeded()) from None

    async def _send(
        self,
        server: TritonPeer,
        request: InferRequest,
        end: float,
        metadata: Metadata,
        turn: _SuspectTurn | None = None,
    ) -> Response:
        """Send once. Triton drops the image from its queues at `end`. A call that outlives its caller keeps `turn`."""
        seconds = None if isinf(end) else max(end - time.monotonic(), 1e-6)
        if seconds is not None:
            request.message.parameters["timeout"].int64_param = max(round(1e6 * seconds), 1)

        def start(grpc_timeout_seconds: float | None) -> Call[Response]:
            call: Call[Response] = server.infer(request, timeout=grpc_timeout_seconds, metadata=metadata)
            if turn is not None:
                turn.join()
                call.add_done_callback(lambda _: turn.leave())
            return call

        try:
            with server.running_call():
                if server.survives_cancellation:
                    return await cancellable_answer(start(seconds))
                return await self._shielded.answer(start, seconds)
        except TimeoutError:
            raise DeadlineExceeded() from None

    def _note(self, server: TritonPeer, model: str, failure: AttemptFailure) -> None:
        if failure in (AttemptFailure.STUB_DIED, AttemptFailure.STOPPING):
            self._pool.mark_sick(server, model)
        elif failure is AttemptFailure.QUEUE_FULL:
            self._pool.mark_full(server)

    def _final_error(
        self, failures: list[AttemptFailure], server: TritonPeer, model: str, error: aio.AioRpcError, is_probe: bool
    ) -> Exception | None:
        """Return what to raise after the last of `failures`, or None if the image may be sent again."""
        match failures[-1]:
            case AttemptFailure.FINAL:
                return translated(error)
            case AttemptFailure.QUEUE_FULL:
                is_first = failures.count(AttemptFailure.QUEUE_FULL) == 1
                return None if is_first and self._pool.has_other(model, server) else translated(error)
            case AttemptFailure.UNKNOWN_MODEL:
                return ModelNotFound() if failures.count(AttemptFailure.UNKNOWN_MODEL) >= _MAX_ATTEMPTS else None
            case AttemptFailure.STUB_DIED | AttemptFailure.CONNECTION_LOST if not is_probe:
                deaths = [failure for failure in failures if failure in _DEATHS]
                if len(deaths) == 1:
                    return None
                return InferenceFailed() if AttemptFailure.STUB_DIED in deaths else TritonUnavailable()
        return translated(error) if is_probe and len(failures) >= _MAX_ATTEMPTS else None

    async def _suspect_turn(self, end: float) -> _SuspectTurn:
        """Wait until no other suspect is at Triton. A suspect is an image that was with a process or server that died.

        Raises DeadlineExceeded.
        """
        try:
            with fail_after(None if isinf(end) else max(end - time.monotonic(), 0)):
                await self._suspect_lock.acquire()
        except TimeoutError:
            raise DeadlineExceeded() from None
        return _SuspectTurn(self._suspect_lock)


class _SuspectTurn:
    """Holds the lock until the request and all its calls have left: a call may outlive its request."""

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock
        self._users = 1

    def join(self) -> None:
        self._users += 1

    def leave(self) -> None:
        self._users -= 1
        if not self._users:
            self._lock.release()
