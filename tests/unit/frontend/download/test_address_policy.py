"""Where the frontend may connect: a table of cases."""

from __future__ import annotations

import ipaddress
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.download.address_policy import AddressPolicy, is_public
from frontend.errors import ForbiddenUrl, InvalidUrl

FORBIDDEN = {
    "this network": ["0.0.0.0", "0.1.2.3"],
    "private": ["10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255"],
    "CGNAT": ["100.64.0.1", "100.127.255.255"],
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "link-local and metadata": [
        "169.254.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "fe80::1",
        "febf::1",
        "fe80::1%eth0",
    ],
    "cloud services": ["168.63.129.16", "100.100.100.200", "fd00:ec2::254"],
    "unique local": ["fc00::1", "fd12:3456::1"],
    "site-local": ["fec0::1", "feff::1"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "reserved": [
        "240.0.0.1",
        "255.255.255.255",
        "192.0.0.1",
        "192.0.0.8",
        "::",
        "100::1",
        "4000::1",
        "5f00::1",
        "e000::1",
    ],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "benchmarks": ["198.18.0.1", "198.19.255.255", "2001:2::1"],
    "relays": ["192.88.99.1", "192.31.196.1", "192.52.193.1", "192.175.48.1", "2620:4f:8000::1"],
    "IPv4-mapped": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::ffff:168.63.129.16"],
    "IPv4-compatible": ["::127.0.0.1", "::a9fe:a9fe", "::8.8.8.8"],
    "IPv4-translated": ["::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8"],
    "6to4": ["2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:808:808::1"],
    "NAT64": ["64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::10.0.0.1", "64:ff9b:1::8.8.8.8"],
    "Teredo": ["2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "protocol assignments": ["2001:1::1", "2001:10::1", "2001:20::1", "2001:1ff::1"],
    "ISATAP": ["2a00::5efe:7f00:1", "2a00::200:5efe:10.0.0.1", "2a00:1:2:3:0:5efe:8.8.8.8"],
}
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "11.0.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.1.1",
]
PUBLIC += ["172.15.255.255", "172.32.0.1", "192.167.1.1", "198.17.255.255", "198.20.0.1", "223.255.255.255"]
PUBLIC += ["168.63.129.15", "2606:4700::1111", "2a00:1450:4001::200e", "2001:4860:4860::8888", "2001:200::1"]
PUBLIC += ["::ffff:8.8.8.8"]


@pytest.mark.parametrize(
    "address", [pytest.param(a, id=f"{kind} {a}") for kind, addresses in FORBIDDEN.items() for a in addresses]
)
def test_non_public_addresses_are_refused(address: str) -> None:
    assert not is_public(ip_address(address))
    with pytest.raises(ForbiddenUrl):
        AddressPolicy().check(address, 80)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_public(ip_address(address))
    AddressPolicy().check(address, 443)


@given(st.ip_addresses())
def test_agrees_with_the_standard_library_on_private(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """The lists of the standard library are too generous for a gate. Ours must refuse at least what they refuse."""
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved or ip.is_unspecified:
        assert not is_public(ip)


@given(st.ip_addresses(v=4))
def test_embedding_never_makes_an_ipv4_address_public(ip: ipaddress.IPv4Address) -> None:
    for wrapped in (f"::ffff:{ip}", f"::{ip}", f"64:ff9b::{ip}", f"2a00::5efe:{ip}", f"::ffff:0:{ip}"):
        assert is_public(ip_address(wrapped)) <= is_public(ip)
    number = f"{int(ip):08x}"
    assert not is_public(ip_address(f"2002:{number[:4]}:{number[4:]}::1"))


@pytest.mark.parametrize("port", [0, 1, 22, 25, 81, 6379, 8000, 8011, 65535])
def test_unusual_ports_are_refused(port: int) -> None:
    with pytest.raises(InvalidUrl):
        AddressPolicy().check("8.8.8.8", port)
    AddressPolicy(ports=[port]).check("8.8.8.8", port)


def test_exempt_network_skips_both_rules() -> None:
    policy = AddressPolicy(allow_networks=[ip_network("10.1.0.0/16"), ip_network("fd00::/64")])
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00::7"):
        policy.check(address, 9000)
    for address in ("10.2.0.1", "127.0.0.1", "fd00:0:0:1::1", "64:ff9b::10.2.2.3", "2002:a01:203::1"):
        with pytest.raises(ForbiddenUrl):
            policy.check(address, 80)
    with pytest.raises(InvalidUrl):
        policy.check("8.8.8.8", 9000)


def test_proxy_targets_check_numeric_hosts_and_ports() -> None:
    policy = AddressPolicy()
    policy.check_target("example.org", 443)
    for host, port, refusal in (
        ("example.org", 8080, InvalidUrl),
        ("10.0.0.1", 80, ForbiddenUrl),
        ("::1", 80, ForbiddenUrl),
        ("8.8.8.8", 81, InvalidUrl),
    ):
        with pytest.raises(refusal):
            policy.check_target(host, port)
