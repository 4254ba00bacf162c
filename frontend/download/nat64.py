"""NAT64 (RFC 6052): finds the IPv4 address to which the network translates an IPv6 address."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network

from aiohttp.abc import AbstractResolver
from anyio import current_time

from frontend.download.resolver import resolving_for

log = logging.getLogger(__name__)

WELL_KNOWN = IPv6Network("64:ff9b::/96")
_PREFIX_LENGTHS = (96, 64, 56, 48, 40, 32)
_LOW_56_BITS = (1 << 56) - 1
# A name that has only these IPv4 addresses. A DNS64 server answers it with IPv6 addresses in its own prefix (RFC 7050).
_DISCOVERY_NAME = "ipv4only.arpa"
_DISCOVERY_ADDRESSES = {IPv4Address("192.0.0.170"), IPv4Address("192.0.0.171")}
_DISCOVERY_SECONDS = 2.0
_FRESH_SECONDS = 600.0


class Nat64Networks:
    """The prefixes that this network translates: the well-known one, and its own ones, which a DNS query reveals."""

    def __init__(self) -> None:
        self._networks = [WELL_KNOWN]
        self._asked_at = float("-inf")
        self._lock = asyncio.Lock()

    def ipv4_of(self, ip: IPv6Address) -> IPv4Address | None:
        """Return the IPv4 address that a connection to `ip` leads to, or None if no translation is known."""
        return next((embedded_ipv4(ip, network) for network in self._networks if ip in network), None)

    async def discover(self, resolver: AbstractResolver) -> None:
        """Ask DNS for this network's own prefixes, at most every ten minutes. Call it before each address check."""
        async with self._lock:
            if time.monotonic() - self._asked_at < _FRESH_SECONDS:
                return
            self._asked_at = time.monotonic()
            try:
                with resolving_for("nat64", current_time() + _DISCOVERY_SECONDS):  # no caller pays for this lookup
                    answers = await asyncio.wait_for(
                        resolver.resolve(_DISCOVERY_NAME, 80, socket.AF_INET6), _DISCOVERY_SECONDS
                    )
            except (OSError, asyncio.TimeoutError):
                return  # no DNS64: the usual case
            found = networks_in(answer["host"] for answer in answers)
            self._networks = [WELL_KNOWN, *sorted(found - {WELL_KNOWN})]
            log.info("NAT64 prefixes of this network: %s", ", ".join(map(str, self._networks)))


def networks_in(addresses: Iterable[str]) -> set[IPv6Network]:
    """Return the prefixes that the answers to the discovery name have."""
    found = set()
    for address in addresses:
        if ":" not in address or "%" in address:
            continue
        for length in _PREFIX_LENGTHS:
            network = IPv6Network((int(IPv6Address(address)), length), strict=False)
            if embedded_ipv4(IPv6Address(address), network) in _DISCOVERY_ADDRESSES:
                found.add(network)
                break
    return found


def embedded_ipv4(ip: IPv6Address, network: IPv6Network) -> IPv4Address:
    """Return the IPv4 address in `ip`. It follows the prefix and skips bits 64 to 71 (RFC 6052, 2.2)."""
    bits = int(ip)
    if network.prefixlen == 96:
        return IPv4Address(bits & 0xFFFFFFFF)
    # Remove the eight reserved bits; then 120 bits are left, and the IPv4 address follows the prefix.
    upper, lower = bits >> 64, bits & _LOW_56_BITS
    joined = (upper << 56) | lower
    return IPv4Address((joined >> (120 - network.prefixlen - 32)) & 0xFFFFFFFF)
