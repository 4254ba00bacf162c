"""An aiohttp connector that connects only where the AddressPolicy allows: it checks the real address of each socket."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from frontend.download.address_policy import AddressPolicy
from frontend.download.response_protocol import use_bounded_responses
from frontend.errors import ImageError

_MAX_CONNECTIONS = 64


class Refused(aiohttp.ClientError):
    """Carries the policy's failure of an address through aiohttp's connector, which passes on only its own errors."""

    def __init__(self, failure: ImageError) -> None:
        super().__init__(failure.code)
        self.failure = failure


def guarded_connector(
    policy: AddressPolicy, resolver: AbstractResolver, tls_context: ssl.SSLContext | None = None
) -> aiohttp.TCPConnector:
    """Return a connector for the running event loop, which checks certificates by `tls_context`."""
    connector = aiohttp.TCPConnector(
        limit=_MAX_CONNECTIONS,
        resolver=_GuardedResolver(policy, resolver),
        use_dns_cache=False,  # there, all callers wait for the first caller's lookup; SystemResolver has a cache
        ssl=tls_context or True,
        socket_factory=_guarded_socket_factory(policy),
        happy_eyeballs_delay=None,  # otherwise a refusal by the socket factory loses its type
    )
    return use_bounded_responses(connector)


def proxy_connector(tls_context: ssl.SSLContext | None = None) -> aiohttp.TCPConnector:
    """Return a connector for the operator's own proxy, whose address is not checked."""
    return use_bounded_responses(aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, ssl=tls_context or True))


class _GuardedResolver(AbstractResolver):
    """Refuses a name if one of its addresses is refused. aiohttp does not ask it about numeric addresses."""

    def __init__(self, policy: AddressPolicy, resolver: AbstractResolver) -> None:
        self._policy = policy
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        results = await self._resolver.resolve(host, port, family)
        if any(":" in result["host"] for result in results):
            await self._policy.nat64.discover(self._resolver)
        for result in results:
            _check(self._policy, result["host"], port)
        return results

    async def close(self) -> None:
        """Do nothing: aiohttp never calls this, and the Downloader closes the resolver."""


def _guarded_socket_factory(policy: AddressPolicy) -> Callable[[Any], socket.socket]:
    """Check every connection attempt, with the address that it will really connect to."""

    def factory(address_info: Any) -> socket.socket:
        family, kind, protocol, _, address = address_info
        _check(policy, address[0], address[1])
        return socket.socket(family, kind, protocol)

    return factory


def _check(policy: AddressPolicy, address: str, port: int) -> None:
    try:
        policy.check(address, port)
    except ImageError as failure:
        raise Refused(failure) from failure
