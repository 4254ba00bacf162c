"""NAT64: an IPv6 address is judged by the IPv4 address that it leads to."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from frontend.download.address_policy import AddressPolicy
from frontend.download.downloader import Downloader
from frontend.download.nat64 import embedded_ipv4, networks_in
from frontend.errors import DownloadFailed, ForbiddenUrl, ImageError

# The examples of RFC 6052, 2.4: prefix and where 192.0.2.33 is in it.
EXAMPLES = {
    "2001:db8::/32": "2001:db8:c000:221::",
    "2001:db8:100::/40": "2001:db8:1c0:2:21::",
    "2001:db8:122::/48": "2001:db8:122:c000:2:2100::",
    "2001:db8:122:300::/56": "2001:db8:122:3c0:0:221::",
    "2001:db8:122:344::/64": "2001:db8:122:344:c0:2:2100::",
    "2001:db8:122:344::/96": "2001:db8:122:344::192.0.2.33",
    "64:ff9b::/96": "64:ff9b::192.0.2.33",
}
LENGTHS = (32, 40, 48, 56, 64, 96)


def translated(ip: IPv4Address, network: IPv6Network) -> IPv6Address:
    """Return where `network` has `ip`: the inverse of embedded_ipv4, octet by octet."""
    octets = bytearray(network.network_address.packed)
    positions = [n for n in range(network.prefixlen // 8, 16) if n != 8][:4]
    for position, octet in zip(positions, ip.packed, strict=True):
        octets[position] = octet
    return IPv6Address(bytes(octets))


@pytest.mark.parametrize("prefix", EXAMPLES)
def test_examples_of_the_standard(prefix: str) -> None:
    assert embedded_ipv4(IPv6Address(EXAMPLES[prefix]), IPv6Network(prefix)) == IPv4Address("192.0.2.33")


@given(st.ip_addresses(v=4), st.ip_addresses(v=6), st.sampled_from(LENGTHS))
def test_every_address_in_every_prefix_is_found(ip: IPv4Address, prefix: IPv6Address, length: int) -> None:
    network = IPv6Network((int(prefix), length), strict=False)
    assert embedded_ipv4(translated(ip, network), network) == ip


class Dns64Resolver(AbstractResolver):
    """A DNS64 server of a network with its own prefix. `ipv4` is the address of every name but the discovery's."""

    def __init__(self, network: str, ipv4: str) -> None:
        self._network, self._ipv4 = IPv6Network(network), ipv4
        self.names: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.names.append(host)
        addresses = ["192.0.0.170", "192.0.0.171"] if host == "ipv4only.arpa" else [self._ipv4]
        return [
            ResolveResult(
                hostname=host,
                host=str(translated(IPv4Address(address), self._network)),
                port=port,
                family=socket.AF_INET6,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


async def failure(url: str, resolver: AbstractResolver) -> ImageError:
    async with Downloader(AddressPolicy(), timeout_seconds=2, max_bytes=1000, resolver=resolver) as loader:
        with pytest.raises(ImageError) as failed:
            async with loader.download(url):
                pass
    return failed.value


@pytest.mark.parametrize("prefix", ["64:ff9b::/96", "2a00:1:2::/96", "2a00:1::/32", "2a00:1:2:300::/56"])
@pytest.mark.parametrize("ipv4", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "100.64.0.1"])
async def test_private_address_behind_nat64_is_refused(prefix: str, ipv4: str) -> None:
    """Under a prefix of the network's own, such an address looks like any public IPv6 address."""
    resolver = Dns64Resolver(prefix, ipv4)
    assert isinstance(await failure("http://birds.example/", resolver), ForbiddenUrl)
    literal = translated(IPv4Address(ipv4), IPv6Network(prefix))
    assert isinstance(await failure(f"http://[{literal}]/", resolver), ForbiddenUrl)


@pytest.mark.parametrize("prefix", ["64:ff9b::/96", "2a00:1:2::/96", "fd00:64::/96"])
async def test_public_address_behind_nat64_is_allowed(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = AddressPolicy()
    await policy.nat64.discover(Dns64Resolver(prefix, ""))
    policy.check(str(translated(IPv4Address("8.8.8.8"), IPv6Network(prefix))), 443)


async def test_prefix_is_discovered_once() -> None:
    resolver, policy = Dns64Resolver("2a00:1:2::/96", ""), AddressPolicy()
    for _ in range(5):
        await policy.nat64.discover(resolver)
    assert resolver.names == ["ipv4only.arpa"]


async def test_network_without_dns64_judges_addresses_as_they_are() -> None:
    class NoDns64(Dns64Resolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            raise OSError("no such name")

    failed = await failure("http://[2001:db8::1]/", NoDns64("64:ff9b::/96", ""))
    assert isinstance(failed, ForbiddenUrl)
    assert not isinstance(failed, DownloadFailed)


def test_other_answers_give_no_prefix() -> None:
    assert networks_in(["192.0.0.170", "2a00::1", "fe80::1%eth0", "::ffff:192.0.0.170"]) <= {
        IPv6Network("::ffff:0:0/96")
    }
