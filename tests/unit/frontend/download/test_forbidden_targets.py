"""Server-side request forgery: a listener inside the network waits for a connection, and none arrives."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_network
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from frontend.download.address_policy import AddressPolicy
from frontend.download.downloader import Downloader
from frontend.errors import DownloadFailed, ForbiddenUrl, ImageError, InvalidUrl
from tests.support.image_server import ImageServer

# Only 127.0.0.1 of the loopback network is exempt: the image server listens there, and the canary elsewhere.
POLICY = AddressPolicy(allow_networks=[ip_network("127.0.0.1/32")])


class Canary:
    """Listens on local addresses and counts connections."""

    port = 0
    connections = 0

    def connected(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.close()


@pytest_asyncio.fixture
async def canary() -> AsyncIterator[Canary]:
    canary = Canary()
    server = await asyncio.start_server(canary.connected, "127.0.0.2", 0)
    canary.port = server.sockets[0].getsockname()[1]
    servers = [server]
    try:
        servers.append(await asyncio.start_server(canary.connected, "::1", canary.port))
    except OSError:
        pass  # a machine without IPv6
    yield canary
    for one in servers:
        one.close()
        await one.wait_closed()
    assert canary.connections == 0


class FakeResolver(AbstractResolver):
    """Answers question n with `addresses(n)`."""

    def __init__(self, addresses: Callable[[int], list[Any]]) -> None:
        self._addresses = addresses
        self.questions = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.questions += 1
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses(self.questions)
        ]

    async def close(self) -> None:
        pass


async def refusal(url: str, policy: AddressPolicy = POLICY, resolver: AbstractResolver | None = None) -> ImageError:
    async with Downloader(policy, timeout_seconds=5, max_bytes=1000, resolver=resolver) as loader:
        with pytest.raises(ImageError) as refused:
            async with loader.download(url):
                pass
    return refused.value


def redirecting_to(location: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def redirect(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location})

    return redirect


HOSTS = [
    *("127.0.0.2", "127.0.2", "127.2", "0x7f.2", "0x7f000002", "2130706434", "0177.0.0.2", "127.0.0.2."),
    *("127。0。0。2", "１２７.0.0.2", "①②⑦.⓪.⓪.②", "127｡0｡0｡2"),
    *("[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.2]", "[::ffff:7f00:2]", "[::127.0.0.2]", "[64:ff9b::127.0.0.2]"),
    *("[2002:7f00:2::]", "[::ffff:0:127.0.0.2]"),
]


@pytest.mark.parametrize("host", HOSTS)
async def test_private_addresses_are_refused_in_every_spelling(canary: Canary, host: str) -> None:
    assert isinstance(await refusal(f"http://{host}:{canary.port}/"), ForbiddenUrl)


@pytest.mark.parametrize("host", HOSTS)
async def test_redirects_to_private_addresses_are_refused(canary: Canary, image_server: ImageServer, host: str) -> None:
    inside = image_server.add("/last", redirecting_to(f"http://{host}:{canary.port}/".encode().decode("latin-1")))
    chain = image_server.add("/first", redirecting_to(inside))
    assert isinstance(await refusal(chain), ForbiddenUrl | DownloadFailed)
    assert image_server.requests["/last"] == 1


@pytest.mark.parametrize("host", ["localhost", "localhost.", "LOCALHOST", "ｌocalhost", "loc\u00adalhost", "ⓛocalhost"])
async def test_names_of_this_machine_are_refused(canary: Canary, host: str) -> None:
    policy = AddressPolicy(ports=[canary.port])
    refused = await refusal(f"http://{host}:{canary.port}/", policy)
    assert refused.code == "forbidden_url" or (host.endswith(".") and refused.parameters == {"reason": "dns"})


async def test_canary_notices_an_allowed_connection() -> None:
    canary = Canary()
    server = await asyncio.start_server(canary.connected, "127.0.0.2", 0)
    port = server.sockets[0].getsockname()[1]
    await refusal(f"http://127.0.0.2:{port}/", AddressPolicy(allow_networks=[ip_network("127.0.0.2/32")]))
    server.close()
    await server.wait_closed()
    assert canary.connections > 0


@pytest.mark.parametrize(
    "addresses",
    [
        pytest.param(["127.0.0.2"], id="one private address"),
        pytest.param(["93.184.216.34", "127.0.0.2"], id="a public one first"),
        pytest.param(["127.0.0.1", "127.0.0.2"], id="an exempt one first"),
        pytest.param(["127.0.0.2", "127.0.0.1"], id="an exempt one last"),
        pytest.param(["::1", "127.0.0.1"], id="both families"),
        pytest.param(["::ffff:127.0.0.2"], id="IPv4 in IPv6"),
        pytest.param(["169.254.169.254"], id="metadata"),
    ],
)
async def test_one_private_address_refuses_the_name(canary: Canary, addresses: list[str]) -> None:
    resolver = FakeResolver(lambda _: addresses)
    policy = AddressPolicy(ports=[canary.port], allow_networks=[ip_network("127.0.0.1/32")])
    assert isinstance(await refusal(f"http://birds.example:{canary.port}/", policy, resolver), ForbiddenUrl)


async def test_rebinding_between_two_redirects_is_refused(canary: Canary, image_server: ImageServer) -> None:
    """DNS rebinding over redirects: each hop resolves the name again, and each answer is checked."""
    resolver = FakeResolver(lambda question: ["127.0.0.1" if question == 1 else "127.0.0.2"])
    image_server.add("/a", redirecting_to(f"http://birds.example:{canary.port}/"))
    refused = await refusal(f"http://birds.example:{image_server.port}/a", resolver=resolver)
    assert isinstance(refused, ForbiddenUrl)
    assert resolver.questions == 2


async def test_socket_address_is_checked_by_itself(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of the socket alone must hold, without the check of DNS answers."""
    inside = FakeResolver(lambda _: ["127.0.0.2"])

    async def unjudged(_: object, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[ResolveResult]:
        return await inside.resolve(host, port, family)

    monkeypatch.setattr("frontend.download.connector._GuardedResolver.resolve", unjudged)
    policy = AddressPolicy(ports=[canary.port])
    assert isinstance(await refusal(f"http://birds.example:{canary.port}/", policy), ForbiddenUrl)


@pytest.mark.parametrize("port", [22, 25, 81, 6379, 8010, 8011])
async def test_unusual_ports_are_refused_without_a_connection(port: int) -> None:
    resolver = FakeResolver(lambda _: ["93.184.216.34"])
    for url in (f"http://93.184.216.34:{port}/", f"http://birds.example:{port}/"):
        assert isinstance(await refusal(url, AddressPolicy(), resolver), InvalidUrl)
