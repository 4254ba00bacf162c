"""The Triton servers behind one target: which exist, which are connected, and which gets the next request.

The pool keeps one gRPC channel for each address. gRPC could balance over the addresses itself, but an answer would not
say which server it came from. A dead Python process and a Triton too old to be cancelled are facts about one server.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from anyio import move_on_after
from grpc import ChannelConnectivity, StatusCode, aio
from tritonclient.grpc import service_pb2, service_pb2_grpc

from frontend.inference.channel import channel_options
from frontend.inference.infer_request import InferRequest
from frontend.inference.name_lookup import LookupFailed, look_up
from frontend.inference.shielded_calls import survives_cancellation
from frontend.inference.target import HostPort, TritonTarget

log = logging.getLogger(__name__)

_LOOKUP_SECONDS = 5.0  # between lookups of a name while a server is available
_URGENT_LOOKUP_SECONDS = 0.25  # while none is
_GREETING_SECONDS = 2.0  # for a new server to answer its first call
_FIRST_CONNECTION_SECONDS = 5.0
_PROBE_PAUSE_SECONDS = 0.5
_FULL_SECONDS = 0.1  # for which other servers are preferred after a full queue
# A restart takes 5 s under `birds serve` and 36 s in a pod. For this long after the last server was lost, its return
# is likely enough to let requests wait.
RECOVERY_SECONDS = 60.0


class NoServer(Exception):
    """No Triton server is available for a model."""


class TritonPeer:
    """One Triton server and what is known about it."""

    def __init__(self, address: HostPort) -> None:
        self.address = address
        self.channel = aio.insecure_channel(str(address), options=channel_options())
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)
        self.infer = self.channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=InferRequest.to_bytes,
            response_deserializer=service_pb2.ModelInferResponse.FromString,
        )
        self.is_listed = True  # the name still has this address
        self.is_connected = False
        self.is_settled = False  # the first attempt to connect has ended
        self.survives_cancellation = False
        self.sick_models: set[str] = set()
        self.full_until = 0.0
        self.calls = 0
        self.tasks: set[asyncio.Task[None]] = set()

    def can_serve(self, model: str) -> bool:
        return self.is_connected and model not in self.sick_models

    @contextmanager
    def running_call(self) -> Iterator[None]:
        """Keep the channel open during a call, even if the name no longer has this address."""
        self.calls += 1
        try:
            yield
        finally:
            self.calls -= 1

    def start(self, task: Awaitable[None]) -> None:
        """Run `task` until the server is closed."""
        running = asyncio.ensure_future(task)
        assert isinstance(running, asyncio.Task)
        self.tasks.add(running)
        running.add_done_callback(self.tasks.discard)

    async def close(self) -> None:
        tasks = set(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.channel.close()


class ServerPool:
    """Follows the addresses of a target; use as an async context manager.

    `probe` sends one real inference for a model to a server and returns whether it succeeded.
    """

    def __init__(self, target: TritonTarget, probe: Callable[[TritonPeer, str], Awaitable[bool]]) -> None:
        self._target = target
        self._probe = probe
        self._servers: dict[HostPort, TritonPeer] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._turn = 0
        self._lookup_wanted = asyncio.Event()
        self._changed = asyncio.Condition()
        self._has_looked_up = False
        self._lost_at = float("-inf")  # when the last available server was lost
        self._settled_by = time.monotonic() + _FIRST_CONNECTION_SECONDS

    async def __aenter__(self) -> ServerPool:
        self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)
        await asyncio.gather(*(server.close() for server in self._servers.values()), *self._closing)

    async def choose(self, model: str, end: float, waits_for_recovery: bool, avoid: set[TritonPeer]) -> TritonPeer:
        """Return the next server for `model` in turn, preferably one that is not in `avoid`.

        Waits until the first connection attempts have ended. With `waits_for_recovery` it also waits for a lost server
        to come back, until `end` on time.monotonic() or as long as a return is likely. Raises NoServer.
        """
        while (server := self._next(model, avoid)) is None:
            now = time.monotonic()
            likely_until = self._lost_at + RECOVERY_SECONDS if waits_for_recovery else now
            latest = min(end, likely_until if self.is_settled else max(likely_until, self._settled_by))
            if latest <= now:
                raise NoServer
            with move_on_after(latest - now):
                async with self._changed:
                    if self._next(model, avoid) is None:
                        await self._changed.wait()
        return server

    @property
    def is_recovery_likely(self) -> bool:
        is_connected = any(server.is_connected for server in self._servers.values())
        return is_connected or time.monotonic() < self._lost_at + RECOVERY_SECONDS

    def has_other(self, model: str, server: TritonPeer) -> bool:
        """Whether another server could take a request that `server` refused because its queue is full."""
        now = time.monotonic()
        return any(other.full_until <= now for other in self._available(model) if other is not server)

    def mark_full(self, server: TritonPeer) -> None:
        """Prefer other servers for a moment."""
        server.full_until = time.monotonic() + _FULL_SECONDS

    def mark_sick(self, server: TritonPeer, model: str) -> None:
        """Send `server` no images for `model` until a probe of that model succeeds."""
        if model not in server.sick_models:
            server.sick_models.add(model)
            self._note_loss()
            server.start(self._probe_until_well(server, model))

    def _next(self, model: str, avoid: set[TritonPeer]) -> TritonPeer | None:
        available = self._available(model)
        if not available:
            return None
        now = time.monotonic()
        preferred = [server for server in available if server not in avoid] or available
        preferred = [server for server in preferred if server.full_until <= now] or preferred
        self._turn += 1
        return preferred[self._turn % len(preferred)]

    def _available(self, model: str) -> list[TritonPeer]:
        """Servers that can serve `model`. An address that the name no longer has counts only while no other works."""
        able = [server for server in self._servers.values() if server.can_serve(model)]
        return [server for server in able if server.is_listed] or able

    @property
    def is_settled(self) -> bool:
        """Whether the name was looked up, and every address answered or refused the first connection."""
        return self._has_looked_up and all(server.is_settled for server in self._servers.values())

    def _note_loss(self) -> None:
        """Call after a server became unavailable for some model."""
        self._lost_at = time.monotonic()
        self._lookup_wanted.set()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _follow(self) -> None:
        """Look the name up repeatedly: at once after a loss, and often while no server is available."""
        failure = ""
        while True:
            self._lookup_wanted.clear()
            try:
                self._update(await look_up(self._target))
                failure = ""
            except LookupFailed as error:
                if str(error) != failure:
                    failure = str(error)
                    log.warning("The address of Triton was not found: %s", failure)
            except Exception:
                log.exception("unexpected failure while looking up Triton's address")
            self._has_looked_up = True
            await self._notify()
            if self._target.is_fixed:
                return
            await asyncio.sleep(_URGENT_LOOKUP_SECONDS)
            if any(server.is_connected for server in self._servers.values()):
                with move_on_after(_LOOKUP_SECONDS - _URGENT_LOOKUP_SECONDS):
                    await self._lookup_wanted.wait()

    def _update(self, addresses: list[HostPort]) -> None:
        """Connect to new addresses, and drop those that the name lost once nothing depends on them."""
        for address in addresses:
            if address not in self._servers:
                server = self._servers[address] = TritonPeer(address)
                server.start(self._watch(server))
        listed = [server for server in self._servers.values() if server.address in addresses]
        replaced = any(server.is_connected for server in listed)
        for server in list(self._servers.values()):
            server.is_listed = server in listed
            if not server.is_listed and not server.calls and (replaced or not server.is_connected):
                del self._servers[server.address]
                closing = asyncio.create_task(server.close())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    async def _watch(self, server: TritonPeer) -> None:
        """Follow the state of a server's connection; gRPC connects again by itself once it is asked to."""
        while True:
            try:
                await self._watch_once(server)
            except Exception:
                log.exception("unexpected failure while watching the connection to Triton at %s", server.address)
                await asyncio.sleep(_URGENT_LOOKUP_SECONDS)

    async def _watch_once(self, server: TritonPeer) -> None:
        """Act on the present state of a server's connection, and wait until it changes."""
        state = server.channel.get_state(try_to_connect=True)
        if state is ChannelConnectivity.READY:
            if not await self._greet(server):
                await asyncio.sleep(_URGENT_LOOKUP_SECONDS)
                return
        elif server.is_connected:
            server.is_connected = False
            self._note_loss()
        if state is ChannelConnectivity.TRANSIENT_FAILURE and not server.is_settled:
            server.is_settled = True
            await self._notify()
        await server.channel.wait_for_state_change(state)

    async def _greet(self, server: TritonPeer) -> bool:
        """Ask a newly connected server for its version. It gets no request before it has answered."""
        version, is_answered = "", True
        try:
            answer = await server.stub.ServerMetadata(service_pb2.ServerMetadataRequest(), timeout=_GREETING_SECONDS)
            version = answer.version
        except aio.AioRpcError as error:
            is_answered = error.code() not in (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED)
        server.survives_cancellation = survives_cancellation(version)
        server.sick_models.clear()  # a new connection may lead to a new process
        server.is_connected = is_answered
        server.is_settled = True
        await self._notify()
        return is_answered

    async def _probe_until_well(self, server: TritonPeer, model: str) -> None:
        log.warning("Triton at %s cannot serve %s: a Python process has died, or it is stopping", server.address, model)
        while model in server.sick_models:
            await asyncio.sleep(_PROBE_PAUSE_SECONDS)
            with suppress(aio.AioRpcError):
                if server.is_connected and await self._probe(server, model):
                    server.sick_models.discard(model)
                    await self._notify()
