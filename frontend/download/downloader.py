"""Downloads the bytes behind a URL. Simultaneous requests of one caller for the same URL share one fetch."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from frontend.download.address_policy import AddressPolicy
from frontend.download.connector import guarded_connector, proxy_connector
from frontend.download.fetcher import Fetcher
from frontend.download.resolver import SystemResolver
from frontend.download.response_protocol import MAX_HEAD_BYTES
from frontend.download.urls import parse_url
from frontend.download.user_agent import user_agent
from frontend.limits.memory_budget import MemoryBudget, Reservation
from frontend.settings import Settings
from frontend.telemetry import request_stats

_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity"}
DEFAULT_MAX_BYTES_IN_FLIGHT = 256_000_000


class _Download:
    """A running fetch, and how many requests wait for it or still work on its bytes."""

    def __init__(self, fetcher: Fetcher, target: URL, reservation: Reservation) -> None:
        self.task = asyncio.create_task(fetcher.fetch(target, reservation))
        self.users = 0
        self._reservation = reservation
        # Retrieve the exception here, because the requests that waited for it may be gone.
        self.task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def end(self) -> None:
        self.task.cancel()
        self._reservation.release()


class Downloader:
    """Downloads images over one shared session; use as an async context manager.

    With `proxy`, the URL of a forward proxy, the proxy resolves names and decides which of them are allowed.
    `resolver` replaces the system's resolver, and is closed with the downloader. `contact` is an address or URL for the
    owners of image servers. `ca_file` has the certificates (PEM) of private authorities that are trusted in addition to
    the public ones.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        timeout_seconds: float,
        max_bytes: int,
        max_bytes_in_flight: int = DEFAULT_MAX_BYTES_IN_FLIGHT,
        proxy: str | None = None,
        resolver: AbstractResolver | None = None,
        contact: str | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self._user_agent = user_agent(contact)
        self._tls_context = _tls_context(ca_file) if ca_file else None
        self._policy = policy
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes
        self._proxy = proxy
        self._resolver = resolver or SystemResolver()
        self._running: dict[tuple[str, str], _Download] = {}  # by caller and URL
        self.budget = MemoryBudget(max_bytes_in_flight)

    @classmethod
    def from_settings(cls, settings: Settings) -> Downloader:
        """Build a downloader from the settings."""
        return cls(
            AddressPolicy(settings.download_ports, settings.download_allow_networks),
            settings.download_timeout,
            settings.download_max_bytes,
            settings.download_max_bytes_in_flight,
            settings.download_proxy,
            contact=settings.user_agent_contact,
            ca_file=settings.download_ca_file,
        )

    async def __aenter__(self) -> Downloader:
        if self._proxy:
            connector = proxy_connector(self._tls_context)
        else:
            connector = guarded_connector(self._policy, self._resolver, self._tls_context)
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": self._user_agent, **_HEADERS},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),  # each fetch has one deadline for everything
            auto_decompress=False,
            max_field_size=MAX_HEAD_BYTES,
            trust_env=False,
        )
        self._fetcher = Fetcher(
            self._session, self._policy, self._timeout_seconds, self._max_bytes, self._resolver, self._proxy
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._resolver.close()

    @asynccontextmanager
    async def download(self, url: str, caller: str = "") -> AsyncIterator[bytes]:
        """Yield the body behind `url`. It counts as bytes in flight of `caller` until the context ends.

        Raises ImageError. Callers do not share fetches: one that has used up its share would delay another.
        """
        target = parse_url(url)
        key = caller, str(target)
        download = self._running.get(key)
        if download is None or download.task.done():
            download = _Download(self._fetcher, target, Reservation(self.budget, caller))
            self._running[key] = download
        download.users += 1
        try:
            with request_stats.stage(
                "download", {"server.address": target.raw_host or "", "server.port": target.port or 0}
            ):
                content = await asyncio.shield(download.task)
            yield content
        finally:
            download.users -= 1
            if not download.users:
                if self._running.get(key) is download:
                    del self._running[key]
                download.end()


def _tls_context(ca_file: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(ca_file)
    return context
