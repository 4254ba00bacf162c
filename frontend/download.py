"""A URL to the bytes behind it: bounded in time, size, redirects, and in where it may connect."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from frontend.addresses import AddressPolicy
from frontend.errors import DownloadFailed, DownloadTimeout, ImageError, TooLarge
from frontend.urls import join_redirect, parse_url

log = logging.getLogger(__name__)

USER_AGENT = "birds/0.1 (bird-species inference service; fetches images its users name)"
_MAX_REDIRECTS = 5
_MAX_CONNECTIONS = 64
_MAX_CONNECTIONS_PER_HOST = 16
_CHUNK_BYTES = 1 << 16
_RETRY_AFTER_SECONDS = 0.2
_REDIRECTS = {301, 302, 303, 307, 308}
_PASSING = {502, 503, 504}  # worth one more try


class _Refused(aiohttp.ClientError):
    """Carries our verdict on an address through aiohttp's connector, which lets only its own errors pass."""

    def __init__(self, verdict: ImageError) -> None:
        super().__init__(verdict.code)
        self.verdict = verdict


class _WorthRetrying(Exception):
    def __init__(self, failure: DownloadFailed) -> None:
        super().__init__(failure.code)
        self.failure = failure


class Downloader:
    """Downloads images over one shared session; use as an async context manager."""

    def __init__(self, policy: AddressPolicy, timeout_seconds: float, max_bytes: int) -> None:
        self._policy = policy
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes

    async def __aenter__(self) -> Downloader:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=_MAX_CONNECTIONS,
                limit_per_host=_MAX_CONNECTIONS_PER_HOST,
                resolver=_CheckedResolver(self._policy),
                socket_factory=_checked_socket_factory(self._policy),
                happy_eyeballs_delay=None,  # otherwise a refusal by the socket factory loses its type
            ),
            headers={"User-Agent": USER_AGENT, "Accept": "image/*", "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),  # the deadline of download() covers everything
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def download(self, url: str) -> bytes:
        """Return the body behind `url`. Raises ImageError; the cause of a failed download is logged, not told."""
        target = parse_url(url)
        try:
            return await asyncio.wait_for(self._with_one_retry(target), self._timeout_seconds)
        except asyncio.TimeoutError as error:
            raise DownloadTimeout(seconds=self._timeout_seconds) from error

    async def _with_one_retry(self, target: URL) -> bytes:
        try:
            return await self._follow(target)
        except _WorthRetrying:
            await asyncio.sleep(_RETRY_AFTER_SECONDS)
        try:
            return await self._follow(target)
        except _WorthRetrying as again:
            raise again.failure from again

    async def _follow(self, target: URL) -> bytes:
        for _ in range(_MAX_REDIRECTS + 1):
            found = await self._get(target)
            if isinstance(found, bytes):
                return found
            target = found
        raise DownloadFailed(reason="redirects")

    async def _get(self, target: URL) -> bytes | URL:
        """One request: the body, or where it redirects to."""
        try:
            async with self._session.get(target, allow_redirects=False) as response:
                location = response.headers.get("Location")
                if response.status in _REDIRECTS and location:
                    return join_redirect(target, location)
                self._check_headers(response)
                return await self._read(response)
        except _Refused as refused:
            raise refused.verdict from refused
        except aiohttp.ClientError as error:
            log.info("download from %s failed: %r", target.host, error)
            failure = _translated(error)
            if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ServerDisconnectedError):
                raise _WorthRetrying(failure) from error
            raise failure from error

    def _check_headers(self, response: aiohttp.ClientResponse) -> None:
        if response.status != HTTPStatus.OK:
            failure = DownloadFailed(reason="status", status=response.status)
            raise _WorthRetrying(failure) if response.status in _PASSING else failure
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise DownloadFailed(reason="encoding")
        if (response.content_length or 0) > self._max_bytes:
            raise TooLarge(max=self._max_bytes)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            body += chunk
            if len(body) > self._max_bytes:
                raise TooLarge(max=self._max_bytes)
        return bytes(body)


class _CheckedResolver(AbstractResolver):
    """Refuses a name as soon as one of its addresses is refused."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        results = await self._resolver.resolve(host, port, family)
        for result in results:
            _check(self._policy, result["host"], port)
        return results

    async def close(self) -> None:
        await self._resolver.close()


def _checked_socket_factory(policy: AddressPolicy) -> Callable[[Any], socket.socket]:
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
        raise _Refused(verdict) from verdict


def _translated(error: aiohttp.ClientError) -> DownloadFailed:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return DownloadFailed(reason="dns")
    if isinstance(error, aiohttp.ClientSSLError):
        return DownloadFailed(reason="tls")
    if isinstance(error, aiohttp.ClientPayloadError):
        return DownloadFailed(reason="incomplete")
    return DownloadFailed(reason="connection")
