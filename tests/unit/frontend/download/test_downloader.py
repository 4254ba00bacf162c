"""Downloads from servers with bad habits: each ends in time, within its limits, and with a code."""

from __future__ import annotations

import asyncio
import logging
import shutil
import ssl
import subprocess
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import StreamReader, web
from anyio import fail_after

from frontend.download.address_policy import AddressPolicy
from frontend.download.downloader import Downloader
from frontend.download.response_protocol import BoundedResponseHandler
from frontend.errors import DownloadFailed, DownloadTimeout, ForbiddenUrl, ImageError, InvalidUrl, Overloaded, TooLarge
from tests.support.image_server import ImageServer
from tests.support.network import LOOPBACK
from tests.support.raw_server import raw_server, replying

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
MAX_BYTES = 1_000_000
TIMEOUT_SECONDS = 0.3


def downloader(**options: Any) -> Downloader:
    defaults = {"policy": AddressPolicy(allow_networks=LOOPBACK), "timeout_seconds": 10, "max_bytes": MAX_BYTES}
    return Downloader(**{**defaults, **options})


async def download(url: str, **options: Any) -> bytes:
    async with downloader(**options) as loader, loader.download(url) as body:
        return body


async def failure(url: str, **options: Any) -> ImageError:
    with pytest.raises(ImageError) as failed:
        await download(url, **options)
    return failed.value


async def test_content_type_and_name_do_not_matter(image_server: ImageServer) -> None:
    assert await download(image_server.add("/bird.html", b"bytes")) == b"bytes"


@pytest.mark.parametrize(
    "status", [201, 202, 204, 205, 206, 300, 304, 400, 401, 403, 404, 407, 410, 418, 429, 500, 501]
)
async def test_only_status_200_succeeds(image_server: ImageServer, status: int) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=None if status in (204, 205, 304) else b"bytes")

    failed = await failure(image_server.add("/a", answer))
    assert isinstance(failed, DownloadFailed)
    assert failed.parameters == {"reason": "status", "status": status}
    assert image_server.requests["/a"] == 1


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_temporary_errors_are_retried_once(image_server: ImageServer, status: int) -> None:
    async def first_fails(_: web.Request) -> web.Response:
        return web.Response(status=status) if image_server.requests["/a"] == 1 else web.Response(body=b"bytes")

    async def always_fails(_: web.Request) -> web.Response:
        return web.Response(status=status)

    assert await download(image_server.add("/a", first_fails)) == b"bytes"
    failed = await failure(image_server.add("/b", always_fails))
    assert failed.parameters == {"reason": "status", "status": status}
    assert image_server.requests == {"/a": 2, "/b": 2}


async def test_closed_connections_are_retried_once() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with raw_server(hang_up) as (url, connections):
        failed = await failure(url)
    assert failed.parameters == {"reason": "connection"}
    assert 2 <= len(connections) <= 4  # aiohttp repeats a GET once by itself


@pytest.mark.parametrize(
    ("parts", "pause_seconds"),
    [
        pytest.param([], 60, id="never answers"),
        pytest.param([b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 600], 0.1, id="slow headers"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", *[b"x"] * 600], 0.1, id="slow body"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b""], 60, id="no body"),
        pytest.param([b"HTTP/1.1 100 Continue\r\n\r\n"] * 600, 0.1, id="endless 100 Continue"),
    ],
)
async def test_slow_server_times_out(parts: list[bytes], pause_seconds: float) -> None:
    slow = parts or [b""]
    async with raw_server(replying(*slow, pause_seconds=pause_seconds)) as (url, _):
        with fail_after(50):
            failed = await failure(url, timeout_seconds=TIMEOUT_SECONDS)
    assert isinstance(failed, DownloadTimeout)
    assert failed.parameters == {"seconds": TIMEOUT_SECONDS}


async def test_retries_and_redirects_share_one_deadline(image_server: ImageServer) -> None:
    async def slow_redirect(_: web.Request) -> web.Response:
        await asyncio.sleep(0.4)
        return web.Response(status=302, headers={"Location": "/a"})

    assert isinstance(await failure(image_server.add("/a", slow_redirect), timeout_seconds=1), DownloadTimeout)
    assert image_server.requests["/a"] <= 3


async def test_endless_body_stops_at_the_limit(image_server: ImageServer) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(1 << 16))
            sent += 1 << 16

    failed = await failure(image_server.add("/a", endless))
    assert isinstance(failed, TooLarge)
    assert failed.parameters == {"max": MAX_BYTES}
    assert sent < 20 * MAX_BYTES  # the rest was in socket buffers


async def test_failure_keeps_no_downloaded_bytes(image_server: ImageServer) -> None:
    """Up to a thousand failures are kept until a request is answered. 136 of them once held 2.7 GB."""

    async def unannounced(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(bytes(2 * MAX_BYTES))
        return response

    failed: BaseException | None = await failure(image_server.add("/a", unannounced))
    kept = 0
    while failed:
        for frame, _ in traceback.walk_tb(failed.__traceback__):
            kept += sum(len(value) for value in frame.f_locals.values() if isinstance(value, bytes | bytearray))
        failed = failed.__cause__ or failed.__context__
    assert kept < MAX_BYTES / 4


async def test_announced_excess_is_refused_unread() -> None:
    async with raw_server(replying(b"HTTP/1.1 200 OK\r\nContent-Length: 1000001\r\n\r\n", pause_seconds=0)) as (url, _):
        assert isinstance(await failure(url), TooLarge)


async def test_body_of_exactly_the_limit_succeeds(image_server: ImageServer) -> None:
    assert len(await download(image_server.add("/a", bytes(MAX_BYTES)))) == MAX_BYTES


async def test_wrong_content_length_fails() -> None:
    async with raw_server(replying(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort")) as (url, _):
        assert (await failure(url)).parameters == {"reason": "incomplete"}
    async with raw_server(replying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nshort, and much more")) as (url, _):
        assert await download(url) == b"short"
    async with raw_server(replying(b"HTTP/1.1 200 OK\r\n\r\nno length at all")) as (url, _):
        assert await download(url) == b"no length at all"


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"\xff\xd8\xff\xe0", id="an image without HTTP"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", id="SSH"),
        pytest.param(b"HTTP/1.1 OK\r\n\r\n", id="no status"),
        pytest.param(b"HTTP/1.1 99999 OK\r\n\r\n", id="status of five digits"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", id="negative length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n", id="length that is not a number"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", id="two lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx", id="broken chunk"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", id="cut chunk"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000 + b"\r\n\r\n", id="a header of 300 kB"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n", id="100,000 headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX\0: y\r\n\r\n", id="NUL in a header"),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", id="upgrade"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_invalid_http_is_a_failed_download(reply: bytes) -> None:
    async with raw_server(replying(reply)) as (url, _):
        failed = await failure(url)
    assert isinstance(failed, DownloadFailed)
    assert failed.parameters["reason"] in ("protocol", "connection", "incomplete", "status")


@pytest.mark.parametrize(("interim_heads", "is_complete"), [(100, True), (101, False)])
async def test_interim_responses_are_limited(interim_heads: int, is_complete: bool) -> None:
    """250 kB of them took 25 ms of CPU time."""
    reply = b"HTTP/1.1 103 Early Hints\r\n\r\n" * interim_heads + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbytes"
    async with raw_server(replying(reply)) as (url, _):
        if is_complete:
            assert await download(url) == b"bytes"
        else:
            assert isinstance(await failure(url), DownloadFailed)


async def test_one_byte_chunks_end_the_download_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs 1.4 µs: 16 endless bodies, 21,000 chunks read of each, delayed other callers by 1.6 s."""
    parsed = 0

    def count(stream: StreamReader) -> None:
        nonlocal parsed
        parsed += 1
        original(stream)

    original = StreamReader.end_http_chunk_receiving
    monkeypatch.setattr(StreamReader, "end_http_chunk_receiving", count)
    async with raw_server(replying(CHUNKED, b"1\r\nx\r\n" * 300_000)) as (url, _):
        failed = await failure(url)
    assert isinstance(failed, DownloadFailed)
    assert 1000 < parsed < 8000


async def test_responses_after_the_last_chunk_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 downloads held 50 MB of them."""
    most = 0

    def note(protocol: BoundedResponseHandler, data: bytes) -> None:
        nonlocal most
        receive_body(protocol, data)
        most = max(most, len(protocol))

    receive_body = BoundedResponseHandler._receive_body
    monkeypatch.setattr(BoundedResponseHandler, "_receive_body", note)
    excess = b"HTTP/1.1 200 OK\r\n\r\n" * 1000
    async with raw_server(replying(CHUNKED + b"5\r\nbytes\r\n0\r\n\r\n" + excess)) as (url, _):
        assert await download(url) == b"bytes"
    assert most == 1


async def test_small_chunks_are_complete() -> None:
    """More chunks than aiohttp keeps at a time: it pauses the connection until they are read."""
    async with raw_server(replying(CHUNKED, b"30\r\n%b\r\n" % (b"x" * 48) * 20_000, b"0\r\n\r\n")) as (url, _):
        assert await download(url) == b"x" * 960_000


async def test_five_redirects_are_the_limit(image_server: ImageServer) -> None:
    def to(path: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def redirect(_: web.Request) -> web.Response:
            return web.Response(status=301 + int(path[-1]) % 3, headers={"Location": path})

        return redirect

    image_server.add("/0", b"bytes")
    for number in range(1, 7):
        image_server.add(f"/{number}", to(f"/{number - 1}"))
    image_server.add("/loop9", to("/loop9"))
    assert await download(image_server.url("/5")) == b"bytes"
    for path in ("/6", "/loop9"):
        assert (await failure(image_server.url(path))).parameters == {"reason": "redirects"}
    assert image_server.requests["/loop9"] == 6


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/a", "http://u:p@127.0.0.1/", "http://[::1"]
)
async def test_redirect_to_an_invalid_url_fails(image_server: ImageServer, location: str) -> None:
    async def redirect(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location})

    assert (await failure(image_server.add("/a", redirect))).parameters == {"reason": "redirect"}


async def test_redirect_without_a_location_fails(image_server: ImageServer) -> None:
    async def redirect(_: web.Request) -> web.Response:
        return web.Response(status=302)

    assert (await failure(image_server.add("/a", redirect))).parameters == {"reason": "status", "status": 302}


async def test_reason_tells_what_failed(image_server: ImageServer) -> None:
    async with raw_server(replying(b"")) as (url, _):
        closed_port = url
    assert (await failure(closed_port)).parameters == {"reason": "connection"}
    assert (await failure("http://no-such-name.invalid/")).parameters == {"reason": "dns"}
    assert (await failure(image_server.url("/").replace("http:", "https:"))).parameters == {"reason": "tls"}


@pytest.mark.parametrize("host", ["xn--a", "xn--", "a" * 63, "_", "-", "xn--zz--", "1.2.3.4.example.invalid"])
async def test_unresolvable_host_is_a_failed_download(host: str) -> None:
    assert (await failure(f"http://{host}/")).parameters == {"reason": "dns"}


async def test_no_cookies_and_no_proxy_variables(
    image_server: ImageServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody is there

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b"bytes", headers={"Set-Cookie": "session=1"})

    async with downloader() as loader:
        for _ in range(2):
            async with loader.download(image_server.add("/a", answer)) as body:
                assert body == b"bytes"
    assert set(image_server.headers["/a"]) == {"Host", "User-Agent", "Accept", "Accept-Encoding"}


async def test_proxy_is_used_and_numeric_hosts_checked(image_server: ImageServer) -> None:
    """The proxy resolves and checks names. Numeric hosts and ports are still checked here."""

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request.append((await reader.readuntil(b"\r\n\r\n")).splitlines()[0])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbytes")
        await writer.drain()

    request: list[bytes] = []
    async with raw_server(proxy) as (url, connections):
        options = {"proxy": url.removesuffix("/bird.jpg"), "policy": AddressPolicy()}
        assert await download("http://birds.example/a.jpg?x=1", **options) == b"bytes"
        assert request == [b"GET http://birds.example/a.jpg?x=1 HTTP/1.1"]
        for refused in ("http://10.0.0.1/", "http://[::1]/", "http://0x7f.1/"):
            assert isinstance(await failure(refused, **options), ForbiddenUrl)
        assert isinstance(await failure("http://birds.example:8080/", **options), InvalidUrl)
        assert len(connections) == 1


async def test_connections_to_one_host_are_bounded(image_server: ImageServer) -> None:
    now = most = 0

    async def slow(_: web.Request) -> web.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        return web.Response(body=b"bytes")

    async with downloader() as loader:

        async def one(url: str) -> bytes:
            async with loader.download(url) as body:
                return body

        urls = [image_server.add(f"/{number}", slow) for number in range(100)]
        assert await asyncio.gather(*map(one, urls)) == [b"bytes"] * 100
    assert 1 < most <= 16


async def test_bytes_in_flight_are_bounded(image_server: ImageServer) -> None:
    size, capacity = 300_000, 1_000_000
    urls = [image_server.add(f"/{number}", bytes(size)) for number in range(40)]
    most = 0
    async with downloader(max_bytes_in_flight=capacity, timeout_seconds=60) as loader:

        async def one(url: str) -> int:
            nonlocal most
            async with loader.download(url) as body:
                most = max(most, loader.budget.held_bytes)
                await asyncio.sleep(0.01)  # inference
                return len(body)

        assert await asyncio.gather(*map(one, urls)) == [size] * 40
        assert loader.budget.held_bytes == 0
    assert size < most <= capacity + size


async def test_download_that_gets_no_memory_is_overloaded(image_server: ImageServer) -> None:
    """The first fits, the second is the one that may overdraw, the third waits."""
    urls = [image_server.add(f"/{number}", bytes(600_000)) for number in range(3)]
    async with downloader(max_bytes_in_flight=1_000_000, timeout_seconds=3) as loader:
        async with loader.download(urls[0]), loader.download(urls[1]):
            with pytest.raises(Overloaded):
                await body_of(loader, urls[2])
        assert loader.budget.held_bytes == 0
        assert len(await body_of(loader, urls[2])) == 600_000


async def body_of(loader: Downloader, url: str) -> bytes:
    async with loader.download(url) as body:
        return body


async def test_simultaneous_requests_for_one_url_share_a_fetch(image_server: ImageServer) -> None:
    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(0.2)
        return web.Response(body=b"bytes")

    url = image_server.add("/a", slow)
    async with downloader() as loader:

        async def one() -> bytes:
            async with loader.download(url) as body:
                return body

        assert await asyncio.gather(*(one() for _ in range(500))) == [b"bytes"] * 500
        assert image_server.requests["/a"] == 1
        await one()
        assert image_server.requests["/a"] == 2  # nothing is kept


async def test_finished_fetch_is_not_reused(image_server: ImageServer) -> None:
    async with downloader() as loader, loader.download(image_server.add("/a", b"old")) as old:
        image_server.add("/a", b"new")
        async with loader.download(image_server.url("/a")) as new:
            assert (old, new) == (b"old", b"new")


async def test_shared_fetch_outlives_the_request_that_began_it(image_server: ImageServer) -> None:
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def slow(request: web.Request) -> web.Response:
        try:
            await asyncio.sleep(0.3 if request.path == "/a" else 30)
        except asyncio.CancelledError:
            loop.call_soon_threadsafe(closed.set)
            raise
        return web.Response(body=b"bytes")

    async with downloader() as loader:
        for path in ("/a", "/b"):
            url = image_server.add(path, slow)
            tasks = [asyncio.create_task(body_of(loader, url)) for _ in range(3)]
            await asyncio.sleep(0.1)
            for task in tasks[:2] if path == "/a" else tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            if path == "/a":
                assert results[2] == b"bytes"
        assert loader.budget.held_bytes == 0
        # No request waits for /b any more: its connection was closed and is free for others.
        async with loader.download(image_server.add("/c", b"bytes")):
            pass


async def test_requests_share_the_failure_of_a_fetch(image_server: ImageServer) -> None:
    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(0.1)
        return web.Response(status=404)

    url = image_server.add("/a", slow)
    async with downloader() as loader:
        results = await asyncio.gather(*(body_of(loader, url) for _ in range(20)), return_exceptions=True)
    assert [type(result) for result in results] == [DownloadFailed] * 20
    assert image_server.requests["/a"] == 1


async def test_log_has_the_cause_without_the_query(image_server: ImageServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await failure("http://127.0.0.1:9/a.jpg?token=secret")
    async with raw_server(replying(b"HTTP/1.1 nonsense\r\n\r\n")) as (url, _):
        await failure(f"{url}?token=secret")
    await failure("http://10.0.0.1/b.jpg?token=secret")
    own = [record for record in caplog.records if record.name.startswith("frontend")]
    assert len(own) >= 3
    assert "secret" not in caplog.text
    assert "/a.jpg" in caplog.text
    assert "ClientConnectorError" in caplog.text


async def test_user_agent_names_the_contact(image_server: ImageServer) -> None:
    url = image_server.add("/a", b"bytes")
    await download(url)
    assert image_server.headers["/a"]["User-Agent"].startswith("birds/")
    await download(url, contact="https://birds.example/contact")
    assert "(https://birds.example/contact; " in image_server.headers["/a"]["User-Agent"]


@pytest.fixture
def private_certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate: apt install openssl")
    certificate, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    arguments = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=birds -keyout {key} -out {certificate}"
    subject = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", *arguments.split(), *subject], check=True, capture_output=True)
    return certificate, key


async def test_private_authority_is_trusted_when_named(private_certificate: tuple[Path, Path]) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*private_certificate)
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbytes"
    async with raw_server(replying(reply), tls_context=context) as (url, _):
        assert (await failure(url)).parameters == {"reason": "tls"}
        assert await download(url, ca_file=private_certificate[0]) == b"bytes"
