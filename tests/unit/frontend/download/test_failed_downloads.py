"""What remains of a failed download: nothing, at once."""

from __future__ import annotations

import gc

import pytest
from aiohttp.streams import StreamReader

from frontend.download.address_policy import AddressPolicy
from frontend.download.downloader import Downloader
from frontend.download.response_protocol import BoundedResponseHandler
from frontend.errors import ImageError
from tests.support.hostile_server import endless, hostile_server
from tests.support.network import LOOPBACK
from tests.support.waiting import until

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
FAILING = {
    "a head without end": endless(OK, b"X-Header: value\r\n"),
    "a body that is too large": endless(OK + b"\r\n", b"x" * 1000),
    "chunks of one byte": endless(CHUNKED, b"1\r\nx\r\n"),
    "a chunk extension without end": endless(CHUNKED + b"1;", b"x=y;" * 100),
    "a wrong chunk size": lambda: [CHUNKED + b"1000\r\n" + b"x" * 4096 + b"\r\nno size\r\n"],
    "no compression": endless(OK + b"Content-Encoding: gzip\r\n\r\n", b"x" * 1000),
    "half a body": lambda: [OK + b"Content-Length: 200000\r\n\r\n" + b"x" * 100_000],
}


def held() -> list[str]:
    """Return the readers of bodies that are in memory, and the connections that hold bytes."""
    readers = [repr(found) for found in gc.get_objects() if type(found) is StreamReader]
    handlers = [found for found in gc.get_objects() if isinstance(found, BoundedResponseHandler)]
    return readers + [repr(found) for found in handlers if found._waiting or found._tail]


@pytest.mark.parametrize("kind", FAILING)
async def test_failed_download_leaves_nothing_for_the_garbage_collection(kind: str) -> None:
    policy = AddressPolicy(allow_networks=LOOPBACK)
    with hostile_server(FAILING[kind]) as url:
        async with Downloader(policy, timeout_seconds=1, max_bytes=1_000_000) as downloader:
            gc.collect()
            gc.disable()
            try:
                with pytest.raises(ImageError):
                    async with downloader.download(url):
                        pass
                await until(lambda: held() == [], seconds=10)
            finally:
                gc.enable()
