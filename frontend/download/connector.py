"""An aiohttp connector that connects only where the AddressPolicy lets it: judged on each socket's real address."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from frontend.download.address_policy import AddressPolicy
from frontend.errors import ImageError

_MAX_CONNECTIONS = 64
_MAX_CONNECTIONS_PER_HOST = 16
# getaddrinfo() cannot be cancelled: a name server that does not answer holds a thread for many seconds.
_RESOLVER_THREADS = 64


class Refused(aiohttp.ClientError):
    """Carries our verdict on an address through aiohttp's connector, which lets only its own errors pass."""

    def __init__(self, verdict: ImageError) -> None:
        super().__init__(verdict.code)
        self.verdict = verdict


def guarded_connector(policy: AddressPolicy, resolver: AbstractResolver | None = None) -> aiohttp.TCPConnector:
    """A connector for the running event loop; `resolver` replaces the system's."""
    return aiohttp.TCPConnector(
        limit=_MAX_CONNECTIONS,
        limit_per_host=_MAX_CONNECTIONS_PER_HOST,
        resolver=_GuardedResolver(policy, resolver or SystemResolver()),
        socket_factory=_guarded_socket_factory(policy),
        happy_eyeballs_delay=None,  # otherwise a refusal by the socket factory loses its type
    )


def proxy_connector() -> aiohttp.TCPConnector:
    """A connector for a proxy of the operator's own, which may be anywhere."""
    return aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, limit_per_host=_MAX_CONNECTIONS_PER_HOST)


class SystemResolver(AbstractResolver):
    """getaddrinfo() on threads of its own: slow names must not use up the event loop's few."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="resolve")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads,
            lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG),
        )
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=protocol, flags=socket.AI_NUMERICHOST
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class _GuardedResolver(AbstractResolver):
    """Refuses a name as soon as one of its addresses is refused. (It is not asked about numeric addresses.)"""

    def __init__(self, policy: AddressPolicy, resolver: AbstractResolver) -> None:
        self._policy = policy
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        results = await self._resolver.resolve(host, port, family)
        for result in results:
            _check(self._policy, result["host"], port)
        return results

    async def close(self) -> None:
        await self._resolver.close()


def _guarded_socket_factory(policy: AddressPolicy) -> Callable[[Any], socket.socket]:
    """The gate that every connection attempt passes, with the very address it will connect to."""

    def factory(address_info: Any) -> socket.socket:
        family, kind, protocol, _, address = address_info
        _check(policy, address[0], address[1])
        return socket.socket(family, kind, protocol)

    return factory


def _check(policy: AddressPolicy, address: str, port: int) -> None:
    try:
        policy.check(address, port)
    except ImageError as verdict:
        raise Refused(verdict) from verdict
