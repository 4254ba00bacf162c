"""Servers that browsers and curl can read: a download succeeds despite their habits."""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from frontend.download.address_policy import AddressPolicy
from frontend.download.decompression import BodyDecoder, UnreadableCompressionError
from frontend.download.downloader import Downloader
from frontend.download.response_head import end_of_head, rewritten_head
from frontend.errors import DownloadFailed, ImageError, TooLarge
from tests.support.image_server import ImageServer
from tests.support.images import RED, flat
from tests.support.network import LOOPBACK
from tests.support.raw_server import raw_server, replying

IMAGE = flat(RED)
MAX_BYTES = 1_000_000


async def download(url: str, timeout_seconds: float = 10, max_bytes: int = MAX_BYTES) -> bytes:
    policy = AddressPolicy(allow_networks=LOOPBACK)
    async with Downloader(policy, timeout_seconds, max_bytes) as loader, loader.download(url) as body:
        return body


async def failure(url: str, timeout_seconds: float = 10, max_bytes: int = MAX_BYTES) -> ImageError:
    with pytest.raises(ImageError) as failed:
        await download(url, timeout_seconds, max_bytes)
    return failed.value


LENGTH = b"Content-Length: %d\r\n" % len(IMAGE)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(IMAGE), IMAGE)
READABLE = {
    "a header of 8 kB": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 8_192 + b"\r\n" + LENGTH + b"\r\n" + IMAGE,
    "a header of 64 kB": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 65_536 + b"\r\n" + LENGTH + b"\r\n" + IMAGE,
    "130 headers": b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(130)) + LENGTH + b"\r\n" + IMAGE,
    "130 cookies": b"HTTP/1.1 200 OK\r\n" + b"Set-Cookie: a=b\r\n" * 130 + LENGTH + b"\r\n" + IMAGE,
    "a line without a name": b"HTTP/1.1 200 OK\r\n: y\r\n" + LENGTH + b"\r\n" + IMAGE,
    "a line without a colon": b"HTTP/1.1 200 OK\r\nnonsense\r\n" + LENGTH + b"\r\n" + IMAGE,
    "a name with a space": b"HTTP/1.1 200 OK\r\nX Y: z\r\n" + LENGTH + b"\r\n" + IMAGE,
    "a name that is not ASCII": b"HTTP/1.1 200 OK\r\n\xfc: z\r\n" + LENGTH + b"\r\n" + IMAGE,
    "a control character in a value": b"HTTP/1.1 200 OK\r\nX: \x01\x7f\r\n" + LENGTH + b"\r\n" + IMAGE,
    "a space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : %d\r\n\r\n%s" % (len(IMAGE), IMAGE),
    "a tab before the colon": b"HTTP/1.1 200 OK\r\nX\t: y\r\n" + LENGTH + b"\r\n" + IMAGE,
    "a repeated equal length": b"HTTP/1.1 200 OK\r\n" + LENGTH * 3 + b"\r\n" + IMAGE,
    "a list of equal lengths": b"HTTP/1.1 200 OK\r\nContent-Length: %d, %d\r\n\r\n" % ((len(IMAGE),) * 2) + IMAGE,
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n" + CHUNKED,
    "repeated singleton headers": b"HTTP/1.1 200 OK\r\n" + b"Server: x\r\nETag: y\r\n" * 2 + LENGTH + b"\r\n" + IMAGE,
    "a folded header": b"HTTP/1.1 200 OK\r\nX: y\r\n  z\r\n\tz\r\n" + LENGTH + b"\r\n" + IMAGE,
    "bare line feeds": b"HTTP/1.1 200 OK\n" + LENGTH.replace(b"\r", b"") + b"\n" + IMAGE,
    "an empty line first": b"\r\nHTTP/1.1 200 OK\r\n" + LENGTH + b"\r\n" + IMAGE,
    "no reason phrase": b"HTTP/1.1 200\r\n" + LENGTH + b"\r\n" + IMAGE,
    "a reason that is not ASCII": b"HTTP/1.1 200 \xe4\xf6\xfc\r\n" + LENGTH + b"\r\n" + IMAGE,
    "two spaces before the status": b"HTTP/1.1  200 OK\r\n" + LENGTH + b"\r\n" + IMAGE,
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n" + IMAGE,
    "HTTP/2.0 as text": b"HTTP/2.0 200 OK\r\n" + LENGTH + b"\r\n" + IMAGE,
    "early hints": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3
    + b"HTTP/1.1 200 OK\r\n"
    + LENGTH
    + b"\r\n"
    + IMAGE,
    "continue": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n" + LENGTH + b"\r\n" + IMAGE,
    "excess bytes": b"HTTP/1.1 200 OK\r\n" + LENGTH + b"\r\n" + IMAGE + b"and more",
    "chunks with extensions": b"HTTP/1.1 200 OK\r\n" + CHUNKED.replace(b"\r\n%s" % IMAGE, b";x=y\r\n%s" % IMAGE),
    "chunks with trailers": b"HTTP/1.1 200 OK\r\n" + CHUNKED[:-2] + b"X: y\r\n\r\n",
}


@pytest.mark.parametrize("habit", READABLE)
async def test_habit_is_readable(habit: str) -> None:
    async with raw_server(replying(READABLE[habit])) as (url, _):
        assert await download(url) == IMAGE


@pytest.mark.parametrize("habit", [habit for habit, reply in READABLE.items() if len(reply) < 5_000])
async def test_habit_is_readable_byte_by_byte(habit: str) -> None:
    reply = READABLE[habit]

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for n in range(len(reply)):
            writer.write(reply[n : n + 1])
            await writer.drain()
            await asyncio.sleep(0)

    async with raw_server(handle) as (url, _):
        assert await download(url) == IMAGE


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_rewriting_never_lets_other_lines_through(before: bytes, after: bytes) -> None:
    """For any head, the parser gets a status line and known headers, each on one line."""
    head = b"HTTP/1.1 200 OK\r\n" + before + b"\r\nLocation: x\r\n" + after + b"\r\n\r\n"
    try:
        rewritten, _ = rewritten_head(head[: end_of_head(head, 0)])
    except ValueError:
        return
    status, *lines, empty, end = rewritten.split(b"\r\n")
    assert (status, empty, end) == (b"HTTP/1.1 200 -", b"", b"")
    known = (b"connection: ", b"content-", b"location: ", b"retry-after: ", b"transfer-encoding: ")
    assert all(line.startswith(known) and b"\n" not in line and b"\0" not in line for line in lines)


def redirect(location: bytes) -> bytes:
    return b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n" % location


@pytest.mark.parametrize(
    ("location", "path"),
    [
        pytest.param(b"/a b.jpg", b"/a%20b.jpg", id="space"),
        pytest.param(b"  /b.jpg  ", b"/b.jpg", id="surrounding spaces"),
        pytest.param(b"\\a\\b.jpg", b"/a/b.jpg", id="backslash"),
        pytest.param(b"/\xe9.jpg", b"/%E9.jpg", id="Latin-1"),
        pytest.param("/é.jpg".encode(), b"/%C3%A9.jpg", id="UTF-8"),
        pytest.param("/é".encode() + b"\xe9", b"/%C3%A9%E9", id="both"),
        pytest.param(b"?x=a b|c\\d", b"/bird.jpg?x=a%20b|c%5Cd", id="query"),
        pytest.param(b"/a%2Fb%zz.jpg", b"/a%2Fb%zz.jpg", id="percent"),
        pytest.param(b'/"<>^`{|}.jpg', b'/"<>^`{|}.jpg', id="other ASCII"),
        pytest.param(b"/a.jpg#b c", b"/a.jpg", id="fragment"),
        pytest.param(b"/" + b"a" * 8_000, b"/" + b"a" * 8_000, id="8 kB"),
    ],
)
async def test_location_is_read_like_in_a_browser(location: bytes, path: bytes) -> None:
    paths = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in (redirect(location), b"HTTP/1.1 200 OK\r\n" + LENGTH + b"\r\n" + IMAGE):
            paths.append((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1])
            writer.write(reply)
            await writer.drain()

    async with raw_server(handle) as (url, _):
        assert await download(url) == IMAGE
    assert paths == [b"/bird.jpg", path]


@pytest.mark.parametrize("location", [b"http://[", b"mailto:x@example.org", b"http://a b/", b"/" + b"a" * 9_000])
async def test_bad_location_is_not_the_users_fault(location: bytes) -> None:
    async with raw_server(replying(redirect(location))) as (url, _):
        assert (await failure(url)).parameters == {"reason": "redirect"}


def encoded_body(content: bytes, encoding: str) -> Callable[[web.Request], object]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=content, headers={"Content-Encoding": encoding})

    return answer


def raw_deflate(content: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(content) + compressor.flush()


@pytest.mark.parametrize(
    "encoding",
    [
        "aws-chunked",
        "UTF-8",
        "none",
        "binary",
        "image/jpeg",
        "identity",
        "x-made-up",
        "",
        "gzip",
        "deflate",
        "br",
        "zstd",
    ],
)
async def test_uncompressed_image_is_read_despite_its_encoding(image_server: ImageServer, encoding: str) -> None:
    url = image_server.add("/a", encoded_body(IMAGE, encoding))  # type: ignore[arg-type]
    assert await download(url) == IMAGE
    assert image_server.headers["/a"]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("identity, gzip", gzip.compress),
        ("deflate", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("gzip", lambda content: gzip.compress(content) + b"padding"),
    ],
)
async def test_compression_is_undone(
    image_server: ImageServer, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    url = image_server.add("/a", encoded_body(compress(IMAGE), encoding))  # type: ignore[arg-type]
    assert await download(url) == IMAGE


async def test_body_is_not_decompressed_without_being_announced(image_server: ImageServer) -> None:
    compressed = gzip.compress(IMAGE)  # has the time in it
    assert await download(image_server.add("/a.gz", compressed)) == compressed


@pytest.mark.parametrize(
    ("content", "encoding", "reason"),
    [
        pytest.param(gzip.compress(IMAGE)[:-20], "gzip", "incomplete", id="cut"),
        pytest.param(gzip.compress(IMAGE)[:20] + bytes(50), "gzip", "encoding", id="damaged"),
        pytest.param(b"\x1f\x8b", "gzip", "incomplete", id="two bytes"),
        pytest.param(b"\x0b\x02\x80abc\x03 and so on", "br", "encoding", id="Brotli"),
        pytest.param(b"\x28\xb5\x2f\xfd and so on", "zstd", "encoding", id="Zstandard"),
    ],
)
async def test_unreadable_compression_fails(
    image_server: ImageServer, content: bytes, encoding: str, reason: str
) -> None:
    url = image_server.add("/a", encoded_body(content, encoding))  # type: ignore[arg-type]
    assert (await failure(url)).parameters == {"reason": reason}


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 131_072, 300_000])
def test_last_piece_of_a_file_is_not_lost(size: int) -> None:
    decoder, data = BodyDecoder("gzip"), gzip.compress(bytes(size))
    pieces = [*decoder.decode(data), *decoder.decode(b"", is_last=True)]
    assert b"".join(pieces) == bytes(size)


def test_empty_blocks_without_end_fail() -> None:
    decoder = BodyDecoder("gzip")
    blocks = [b"\x1f\x8b\x08\0\0\0\0\0\0\xff", *[b"\0\0\0\xff\xff" * 1000] * 100]
    with pytest.raises(UnreadableCompressionError):
        [list(decoder.decode(block)) for block in blocks]


async def test_compression_bomb_stops_at_the_limit(image_server: ImageServer) -> None:
    bomb = gzip.compress(bytes(500_000_000), 1)
    url = image_server.add("/a", encoded_body(bomb, "gzip"))  # type: ignore[arg-type]
    assert isinstance(await failure(url, max_bytes=3_000_000), TooLarge)


@given(st.binary(max_size=2_000), st.integers(1, 50), st.sampled_from([gzip.compress, zlib.compress, raw_deflate]))
def test_decoder_does_not_depend_on_segments(
    content: bytes, segment_bytes: int, compress: Callable[[bytes], bytes]
) -> None:
    data, decoder = compress(content), BodyDecoder("deflate")
    decoded = b""
    try:
        for start in range(0, len(data), segment_bytes):
            decoded += b"".join(decoder.decode(data[start : start + segment_bytes]))
        decoded += b"".join(decoder.decode(b"", is_last=True))
    except UnreadableCompressionError:
        assert compress is raw_deflate  # its first bytes can look like zlib's
        return
    assert decoded in (content, data)


async def test_busy_server_is_asked_again_when_it_says(image_server: ImageServer) -> None:
    times: list[float] = []

    async def busy(_: web.Request) -> web.Response:
        times.append(time.monotonic())
        if len(times) == 1:
            return web.Response(status=429, headers={"Retry-After": "1"})
        return web.Response(body=IMAGE)

    assert await download(image_server.add("/a", busy)) == IMAGE
    assert times[1] - times[0] >= 1


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("is_date", [False, True], ids=["seconds", "date"])
async def test_busy_server_is_not_asked_before_it_says(image_server: ImageServer, status: int, is_date: bool) -> None:
    later = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=60), usegmt=True)

    async def busy(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Retry-After": later if is_date else "60"})

    failed = await failure(image_server.add("/a", busy), timeout_seconds=5)
    assert isinstance(failed, DownloadFailed)
    assert failed.parameters == {"reason": "status", "status": status}
    assert image_server.requests["/a"] == 1


async def test_spaces_in_the_users_url_are_encoded(image_server: ImageServer) -> None:
    image_server.add("/a%20b.jpg?c%20d", IMAGE)
    assert await download(f" \t{image_server.url('/a b.jpg?c d')}\n") == IMAGE
