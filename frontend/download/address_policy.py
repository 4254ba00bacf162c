"""Decides whether a connection to an address and a port is allowed. Pure functions, without DNS lookups.

`ipaddress.is_global` is not used: its result differs between Python versions, and it is true for multicast, NAT64 and
other forms that lead back into private networks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from frontend.download.nat64 import Nat64Networks
from frontend.errors import ForbiddenUrl, InvalidUrl

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# The IPv4 blocks of IANA's special-purpose registry that are not public unicast, and one of a cloud provider.
_FORBIDDEN_V4 = [
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared between carriers and their customers (CGNAT)
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform services; looks public
        "169.254.0.0/16",  # link-local, cloud metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
]
# Only this block of IPv6 can be public unicast. Loopback, link-local, ULA, site-local, multicast, NAT64 and
# IPv4-compatible addresses are outside it.
_PUBLIC_V6 = IPv6Network("2000::/3")
_FORBIDDEN_V6 = [
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address inside
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
]
_ISATAP = 0x5EFE  # in the interface identifier of an address with an IPv4 address inside


@dataclass(frozen=True)
class AddressPolicy:
    """Allows public unicast addresses on `ports`, and every port of the networks that the operator exempts.

    An address that this network translates by NAT64 is judged by the IPv4 address that it leads to.
    """

    ports: Iterable[int] = (80, 443)
    allow_networks: Iterable[Network] = ()
    nat64: Nat64Networks = field(default_factory=Nat64Networks, compare=False)

    def check(self, address: str, port: int) -> None:
        """Raise ForbiddenUrl or InvalidUrl unless a connection to `address` (numeric) and `port` is allowed."""
        ip = _unwrapped(ip_address(address))
        if isinstance(ip, IPv6Address):
            ip = self.nat64.ipv4_of(ip) or ip
        if any(ip in network for network in self.allow_networks if network.version == ip.version):
            return
        if not is_public(ip):
            raise ForbiddenUrl()
        if port not in self.ports:
            raise InvalidUrl()

    def check_target(self, host: str, port: int) -> None:
        """Check the target of a request through a proxy, which itself checks names. Raises as `check` does."""
        try:
            ip_address(host)
        except ValueError:
            if port not in self.ports:
                raise InvalidUrl() from None
            return
        self.check(host, port)


def is_public(ip: Address) -> bool:
    """Return whether `ip` is a public unicast address with no IPv4 address embedded in it."""
    ip = _unwrapped(ip)
    if isinstance(ip, IPv4Address):
        return not any(ip in block for block in _FORBIDDEN_V4)
    if ip.scope_id is not None or ip not in _PUBLIC_V6 or any(ip in block for block in _FORBIDDEN_V6):
        return False
    return (int(ip) >> 32) & 0xFFFF != _ISATAP


def _unwrapped(ip: Address) -> Address:
    """Return the IPv4 address of an IPv4-mapped one: the operating system connects to that."""
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip
