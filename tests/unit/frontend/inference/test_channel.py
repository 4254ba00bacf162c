"""The channel to several servers, real gRPC ones: who is asked, who no longer, and what is asked again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import grpc
import pytest
from grpc import StatusCode, aio
from pydantic import ValidationError

from frontend.inference.channel import channel_options, channel_target
from frontend.settings import Settings
from tests.support.name_server import NAME, NameServer
from tools.serve.ports import free_port

Behaviour = Callable[[aio.ServicerContext], Awaitable[bytes]]
SERVICE, METHOD = "inference.GRPCInferenceService", "ModelInfer"


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("127.0.0.1:8011", "127.0.0.1:8011"),
        ("triton:8011", "triton:8011"),
        ("[::1]:8011", "[::1]:8011"),
        ("10.0.0.1:8011,10.0.0.2:8011", "ipv4:10.0.0.1:8011,10.0.0.2:8011"),
        ("10.0.0.1:8011, 10.0.0.1:8021", "ipv4:10.0.0.1:8011,10.0.0.1:8021"),
        ("[fd00::1]:8011,[fd00::2]:8011", "ipv6:[fd00::1]:8011,[fd00::2]:8011"),
        ("dns:///triton:8011", "dns:///triton:8011"),
        ("dns://10.0.0.53/triton.birds.svc:8011", "dns://10.0.0.53/triton.birds.svc:8011"),
    ],
)
def test_what_may_be_written(url: str, target: str) -> None:
    assert channel_target(url) == target
    assert Settings(triton_url=url).triton_url == url


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "host:port"),
        ("127.0.0.1", "host:port"),
        ("127.0.0.1:0", "host:port"),
        ("127.0.0.1:65536", "host:port"),
        ("http://127.0.0.1:8011", "host:port"),
        ("127.0.0.1:8011,", "host:port"),
        ("dns:///triton", "host:port"),
        ("triton-0:8011,triton-1:8011", "for a name write dns:///name:port"),
        ("127.0.0.1:8011,[::1]:8011", "not both"),
    ],
)
def test_anything_else_is_refused_with_what_to_write(url: str, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Settings(triton_url=url)


class Servers:
    """gRPC servers that behave as each is told, and count."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.asked: list[int] = []
        self.running: list[aio.Server] = []

    async def add(self, behaviour: Behaviour, address: str = "127.0.0.1:0") -> str:
        self.asked.append(0)
        index = len(self.asked) - 1

        async def infer(_: bytes, context: aio.ServicerContext) -> bytes:
            self.asked[index] += 1
            return await behaviour(context)

        server = aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)])
        handlers = {METHOD: grpc.unary_unary_rpc_method_handler(infer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        port = server.add_insecure_port(address)
        await server.start()
        self._stack.push_async_callback(server.stop, None)
        self.running.append(server)
        return f"{address.rpartition(':')[0]}:{port}"


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    async with AsyncExitStack() as stack:
        yield Servers(stack)


@asynccontextmanager
async def asking(url: str, **options: Any) -> AsyncIterator[Callable[..., Awaitable[bytes]]]:
    """A function that sends one request."""
    arguments = [*dict(channel_options(), **options).items()]
    async with aio.insecure_channel(channel_target(url), options=arguments) as channel:
        call = channel.unary_unary(f"/{SERVICE}/{METHOD}")

        async def ask(request: bytes = b"image", timeout: float = 10) -> bytes:
            return bytes(await call(request, timeout=timeout))

        yield ask


async def answers(_: aio.ServicerContext) -> bytes:
    return b"answer"


def fails_with(code: StatusCode, message: str) -> Behaviour:
    async def behaviour(context: aio.ServicerContext) -> bytes:
        await context.abort(code, message)
        raise AssertionError

    return behaviour


dead_stub = fails_with(StatusCode.INTERNAL, "Stub process 'preprocess_0_0' is not healthy.")


async def settled(ask: Callable[..., Awaitable[bytes]], servers: Servers) -> None:
    """Return when every server has been asked: all connections are there. Counts begin again."""
    while not all(servers.asked):
        await ask()
    servers.asked[:] = [0] * len(servers.asked)


async def test_requests_go_round(servers: Servers) -> None:
    addresses = [await servers.add(answers) for _ in range(3)]
    async with asking(",".join(addresses)) as ask:
        await settled(ask, servers)
        await asyncio.gather(*(ask() for _ in range(60)))
    assert servers.asked == [20, 20, 20]


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(dead_stub, id="a dead Python process"),
        pytest.param(fails_with(StatusCode.UNAVAILABLE, "Exceeds maximum queue size"), id="a full queue"),
        pytest.param(fails_with(StatusCode.NOT_FOUND, "birds_v2 is not found"), id="a version that it lacks"),
    ],
)
async def test_what_one_server_cannot_do_another_is_asked_for(servers: Servers, failure: Behaviour) -> None:
    addresses = [await servers.add(failure), await servers.add(answers)]
    large = bytes(5_000_000)  # above the size that gRPC keeps by default
    async with asking(",".join(addresses)) as ask:
        while not all(servers.asked):
            await ask()
        for _ in range(4):
            assert await ask(large) == b"answer"
    assert servers.asked[0] > 0


@pytest.mark.parametrize(
    "code", [StatusCode.INVALID_ARGUMENT, StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED, StatusCode.UNIMPLEMENTED]
)
async def test_what_would_fail_anywhere_is_asked_once(servers: Servers, code: StatusCode) -> None:
    address = await servers.add(fails_with(code, "not_an_image: …"))
    async with asking(address) as ask:
        with pytest.raises(aio.AioRpcError) as raised:
            await ask()
    assert raised.value.code() == code
    assert servers.asked == [1]


async def test_repetitions_end_with_the_budget(servers: Servers) -> None:
    """All servers full, for longer than the tokens last: from then on one attempt a request."""
    address = await servers.add(fails_with(StatusCode.UNAVAILABLE, "Exceeds maximum queue size"))
    async with asking(address) as ask:

        async def refused() -> None:
            with pytest.raises(aio.AioRpcError, match="Exceeds maximum queue size"):
                await ask()

        await asyncio.gather(*(refused() for _ in range(400)))
        servers.asked[0] = 0
        await asyncio.gather(*(refused() for _ in range(100)))
    assert servers.asked == [100]


async def test_repetitions_keep_to_the_calls_one_deadline(servers: Servers) -> None:
    async def slowly_refuses(context: aio.ServicerContext) -> bytes:
        await asyncio.sleep(0.2)
        return await dead_stub(context)

    address = await servers.add(slowly_refuses)
    async with asking(address) as ask:
        with pytest.raises(aio.AioRpcError) as raised:
            await ask(timeout=0.3)
    assert raised.value.code() == StatusCode.DEADLINE_EXCEEDED
    assert servers.asked == [2]


async def test_a_sick_server_is_soon_left_alone(servers: Servers) -> None:
    addresses = [await servers.add(dead_stub), await servers.add(answers)]
    async with asking(",".join(addresses)) as ask:
        await settled(ask, servers)
        for _ in range(20):  # a second at most
            await ask()
            await asyncio.sleep(0.05)
        servers.asked[:] = [0, 0]
        for _ in range(20):
            await ask()
    assert servers.asked == [0, 20]


async def test_a_server_that_refuses_nearly_all_is_full_not_sick(servers: Servers) -> None:
    """Were it left out, the load would be too much for the other as well."""
    count = 0

    async def nine_in_ten(context: aio.ServicerContext) -> bytes:
        nonlocal count
        count += 1
        if count % 10:
            await context.abort(StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
        return b"answer"

    addresses = [await servers.add(nine_in_ten), await servers.add(answers)]
    async with asking(",".join(addresses)) as ask:
        await settled(ask, servers)
        for _ in range(12):
            await asyncio.gather(*(ask() for _ in range(20)), return_exceptions=True)
            await asyncio.sleep(0.1)
        servers.asked[:] = [0, 0]
        await asyncio.gather(*(ask() for _ in range(20)), return_exceptions=True)
    assert servers.asked[0] >= 10


async def test_what_was_under_way_on_a_server_that_dies_is_done_by_another(servers: Servers) -> None:
    async def never(_: aio.ServicerContext) -> bytes:
        await asyncio.sleep(30)
        return b""

    addresses = [await servers.add(never), await servers.add(answers)]
    async with asking(",".join(addresses)) as ask:
        requests = [asyncio.ensure_future(ask()) for _ in range(100)]
        while not servers.asked[0]:
            requests.append(asyncio.ensure_future(ask()))
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        await servers.running[0].stop(0)
        assert set(await asyncio.gather(*requests)) == {b"answer"}


async def test_a_name_is_asked_for_again_when_a_server_goes(servers: Servers) -> None:
    port = free_port()
    for host in ("127.0.0.1", "127.0.0.2"):
        await servers.add(answers, f"{host}:{port}")
    with NameServer("127.0.0.1") as names:
        options = {"grpc.dns_min_time_between_resolutions_ms": 100}
        async with asking(f"dns://{names.address}/{NAME}:{port}", **options) as ask:
            await ask()
            assert servers.asked == [1, 0]
            names.addresses = ["127.0.0.2"]
            await servers.running[0].stop(0)
            deadline = asyncio.get_running_loop().time() + 10
            while not servers.asked[1] and asyncio.get_running_loop().time() < deadline:
                with suppress(aio.AioRpcError):  # until the name has been asked for
                    await ask()
                await asyncio.sleep(0.05)
    assert servers.asked[1] == 1
