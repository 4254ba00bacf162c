"""A URL to the bytes behind it. One fetch serves all who ask for the same URL while it is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp.abc import AbstractResolver

from frontend.download.address_policy import AddressPolicy
from frontend.download.connector import guarded_connector, proxy_connector
from frontend.download.fetcher import Fetcher
from frontend.download.urls import parse_url
from frontend.limits.memory_budget import MemoryBudget, Reservation
from frontend.settings import Settings
from frontend.telemetry import request_stats

USER_AGENT = "birds/0.1 (bird-species inference service; fetches images its users name)"
_HEADERS = {"User-Agent": USER_AGENT, "Accept": "image/*", "Accept-Encoding": "identity"}
DEFAULT_MAX_BYTES_IN_FLIGHT = 256_000_000


class _Download:
    """A fetch and who waits for it or still works on its bytes."""

    def __init__(self, task: asyncio.Task[bytes], share: Reservation) -> None:
        self.task = task
        self.users = 0
        self._share = share
        # Whoever was to see its exception may be gone.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def end(self) -> None:
        self.task.cancel()
        self._share.release()


class Downloader:
    """Downloads images over one shared session; use as an async context manager.

    `proxy` is the URL of a forward proxy, which then decides where names may lead; `resolver` replaces the system's.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        timeout_seconds: float,
        max_bytes: int,
        max_bytes_in_flight: int = DEFAULT_MAX_BYTES_IN_FLIGHT,
        proxy: str | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._policy = policy
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes
        self._proxy = proxy
        self._resolver = resolver
        self._under_way: dict[str, _Download] = {}
        self.budget = MemoryBudget(max_bytes_in_flight)

    @classmethod
    def from_settings(cls, settings: Settings) -> Downloader:
        """The downloader that the settings describe."""
        return cls(
            AddressPolicy(settings.download_ports, settings.download_allow_networks),
            settings.download_timeout,
            settings.download_max_bytes,
            settings.download_max_bytes_in_flight,
            settings.download_proxy,
        )

    async def __aenter__(self) -> Downloader:
        connector = proxy_connector() if self._proxy else guarded_connector(self._policy, self._resolver)
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=_HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),  # the fetch has one deadline for everything
            auto_decompress=False,
            trust_env=False,
        )
        self._fetcher = Fetcher(self._session, self._policy, self._timeout_seconds, self._max_bytes, self._proxy)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    @asynccontextmanager
    async def download(self, url: str) -> AsyncIterator[bytes]:
        """The body behind `url`; it counts among the bytes in flight until the context ends. Raises ImageError."""
        target = parse_url(url)
        key = str(target)
        download = self._under_way.get(key)
        if download is None or download.task.done():
            share = Reservation(self.budget)
            download = _Download(asyncio.create_task(self._fetcher.fetch(target, share)), share)
            self._under_way[key] = download
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
                if self._under_way.get(key) is download:
                    del self._under_way[key]
                download.end()
