"""Names that are never answered: they use only their own caller's share of the resolver's threads."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest

from frontend.download.address_policy import AddressPolicy
from frontend.download.downloader import Downloader
from frontend.download.resolver import RESOLVER_THREADS, SystemResolver, resolving_for
from frontend.errors import DownloadFailed, DownloadTimeout
from tests.support.image_server import ImageServer
from tests.support.network import LOOPBACK
from tests.support.waiting import until

INNOCENT = "innocent"


class SilentNameServer:
    """Stands in for getaddrinfo(): names in `.silent` get no answer until `released`; all others are this machine."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.waiting: list[str] = []
        self.asked: list[str] = []

    def getaddrinfo(self, host: str, port: object, *_: object, **__: object) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        if host.endswith(".silent"):
            self.waiting.append(host)
            self.released.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SilentNameServer]:
    silent = SilentNameServer()
    monkeypatch.setattr(socket, "getaddrinfo", silent.getaddrinfo)
    yield silent
    silent.released.set()


async def fail_to_download(loader: Downloader, url: str, caller: str) -> None:
    with pytest.raises((DownloadTimeout, DownloadFailed)):
        async with loader.download(url, caller):
            pass


async def test_silent_names_leave_threads_to_others(name_server: SilentNameServer, image_server: ImageServer) -> None:
    """The threads outlive the downloads, so a caller could occupy all of them although few of its downloads run."""
    image_server.add("/bird.jpg", b"bytes")
    policy = AddressPolicy(allow_networks=LOOPBACK)
    async with Downloader(policy, timeout_seconds=0.5, max_bytes=1000) as greedy:
        for first in range(0, 2 * RESOLVER_THREADS, 32):
            urls = [f"http://{n}.silent/" for n in range(first, first + 32)]
            await asyncio.gather(*(fail_to_download(greedy, url, "greedy") for url in urls))
        assert len(name_server.waiting) == RESOLVER_THREADS * 3 // 4
        greedy._fetcher._timeout_seconds = 30  # a busy machine may be slow
        async with greedy.download(f"http://birds.example:{image_server.port}/bird.jpg", INNOCENT) as body:
            assert body == b"bytes"
        name_server.released.set()


async def look_up(resolver: SystemResolver, name: str, caller: str, seconds: float) -> list[str]:
    with resolving_for(caller, asyncio.get_running_loop().time() + seconds):
        return [result["host"] for result in await resolver.resolve(name, 80)]


async def occupy_share(resolver: SystemResolver, name_server: SilentNameServer) -> list[asyncio.Task[list[str]]]:
    names = [f"{n}.silent" for n in range(RESOLVER_THREADS)]
    lookups = [asyncio.create_task(look_up(resolver, name, "greedy", 60)) for name in names]
    await until(lambda: len(name_server.waiting) == RESOLVER_THREADS * 3 // 4)
    return lookups


async def test_nobody_waits_for_lookup_without_thread(name_server: SilentNameServer) -> None:
    """A greedy caller that asks for a name first does not delay another caller that asks for it, too."""
    resolver = SystemResolver()
    lookups = await occupy_share(resolver, name_server)
    lookups.append(asyncio.create_task(look_up(resolver, "birds.example", "greedy", 60)))
    await asyncio.sleep(0)
    assert await look_up(resolver, "birds.example", INNOCENT, 60) == ["127.0.0.1"]
    name_server.released.set()
    await asyncio.gather(*lookups, return_exceptions=True)
    await resolver.close()


async def test_lookup_without_thread_ends_with_deadline(name_server: SilentNameServer) -> None:
    """Otherwise the lookups of downloads that have ended would pile up."""
    resolver = SystemResolver()
    lookups = await occupy_share(resolver, name_server)
    with pytest.raises(OSError, match="no thread"):
        await look_up(resolver, "late.example", "greedy", 0.01)
    assert "late.example" not in name_server.asked
    name_server.released.set()
    await asyncio.gather(*lookups, return_exceptions=True)
    await resolver.close()


async def test_one_lookup_answers_all_who_ask_now(name_server: SilentNameServer) -> None:
    resolver = SystemResolver()
    answers = await asyncio.gather(*(look_up(resolver, "birds.example", f"caller {n}", 60) for n in range(20)))
    answers.append(await look_up(resolver, "birds.example", "one more", 60))
    assert answers == [["127.0.0.1"]] * 21
    assert name_server.asked == ["birds.example"]
    await resolver.close()


async def test_failed_lookup_is_not_remembered(name_server: SilentNameServer) -> None:
    name_server.released.set()
    resolver = SystemResolver()
    for _ in range(2):
        with pytest.raises(OSError, match="no answer"):
            await look_up(resolver, "birds.silent", INNOCENT, 60)
        await asyncio.sleep(0)
    assert name_server.asked == ["birds.silent"] * 2
    await resolver.close()


async def test_downloader_closes_its_resolver() -> None:
    """aiohttp closes only a resolver that it made. Without this, the threads would stay."""
    resolver = Mock(SystemResolver)
    async with Downloader(AddressPolicy(), timeout_seconds=1, max_bytes=1000, resolver=resolver):
        resolver.close.assert_not_awaited()
    resolver.close.assert_awaited_once()


async def test_remembered_lookups_are_bounded(name_server: SilentNameServer) -> None:
    resolver = SystemResolver()
    for n in range(1100):
        await look_up(resolver, f"{n}.example", INNOCENT, 60)
    assert len(resolver._lookups) <= 1000
    await resolver.close()
