"""Bodies arrive whole or not at all, however the server sends them, and however scarce memory is."""

from __future__ import annotations

import asyncio
import gzip
import random
from dataclasses import dataclass

import pytest

from frontend.download.address_policy import AddressPolicy
from frontend.download.downloader import Downloader
from frontend.errors import Overloaded
from tests.support.network import LOOPBACK
from tests.support.raw_server import raw_server

IMAGES = 40
SIZES = (0, 1, 1_000, 16_384, 65_536, 200_000, 900_000)
MAX_BYTES = 1_000_000
MAX_BYTES_IN_FLIGHT = 2_000_000  # most of the downloads wait for memory
MAX_SMALL_PIECES = 100


@dataclass
class Reply:
    body: bytes
    framing: str
    is_compressed: bool

    def encoded(self, chance: random.Random) -> bytes:
        """Return the whole response."""
        head, body = b"HTTP/1.1 200 OK\r\nConnection: close\r\n", self.body
        if self.is_compressed:
            head, body = head + b"Content-Encoding: gzip\r\n", gzip.compress(body, 1)
        if self.framing == "length":
            return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        if self.framing == "end of connection":
            return head + b"\r\n" + body
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(_chunks(body, chance)) + b"0\r\n\r\n"


def _chunks(body: bytes, chance: random.Random) -> list[bytes]:
    chunks = []
    while body:
        chunk, body = body[: (size := chance.choice((64, 5_000, 300_000)))], body[size:]
        chunks.append(b"%x\r\n%b\r\n" % (len(chunk), chunk))
    return chunks


@pytest.mark.parametrize("seed", range(3))
async def test_bodies_are_complete_while_memory_is_scarce(seed: int) -> None:
    """Three callers download the same images, several requests of a caller share a download, and some leave early."""
    chance = random.Random(seed)
    framings = ("length", "chunks", "end of connection")
    replies = {
        f"/{n}": Reply(chance.randbytes(chance.choice(SIZES)), chance.choice(framings), chance.random() < 0.5)
        for n in range(IMAGES)
    }

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        response, position = replies[path].encoded(chance), 0
        for piece in range(len(response)):
            sizes = (1, 17, 1_000) if piece < MAX_SMALL_PIECES else (100_000, 400_000)
            end = position + chance.choice(sizes)
            writer.write(response[position:end])
            await writer.drain()
            await asyncio.sleep(0)
            position = end
            if position >= len(response):
                return

    async def fetch(loader: Downloader, url: str, path: str, caller: str) -> None:
        try:
            async with loader.download(url + path, caller) as body:
                assert body == replies[path].body
                await asyncio.sleep(0.01)
        except Overloaded:
            pass  # a busy machine can make a download look stalled

    policy = AddressPolicy(allow_networks=LOOPBACK)
    async with (
        raw_server(serve) as (url, _),
        Downloader(policy, 60, MAX_BYTES, MAX_BYTES_IN_FLIGHT) as loader,
    ):
        base = url.rpartition("/")[0]
        tasks = [
            asyncio.create_task(fetch(loader, base, path, caller))
            for path in replies
            for caller in ("a", "a", "b", "c")
        ]
        leaving = chance.sample(tasks, len(tasks) // 5)
        for task in leaving:
            await asyncio.sleep(0.01)
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [result for task, result in zip(tasks, results, strict=True) if result and task not in leaving] == []
        assert loader.budget.held_bytes == 0
