"""Streamed answers: each image as soon as it is done. Slow readers pause the work; disconnected ones cancel it."""

from __future__ import annotations

import asyncio
import json
import socket
import time

import httpx
import pytest
from aiohttp import web

from frontend.settings import Settings
from tests.support.answers import NDJSON, lines
from tests.support.frontend_server import running_frontend
from tests.support.image_server import ImageServer
from tests.support.images import GREEN, RED, flat
from tests.support.network import LOOPBACK
from tests.support.processes import eventually
from tools.serve.ports import free_port


def test_one_line_per_image_then_the_totals(frontend: httpx.Client, image_server: ImageServer) -> None:
    good = image_server.add("/good.png", flat(GREEN))
    missing = image_server.url("/missing.png")
    *images, totals = lines(frontend, {"images": [good, missing, good], "k": 1})
    by_url = {line.pop("url"): line for line in images}
    assert len(images) == len(by_url) == 2
    (prediction,) = by_url[good]["predictions"]
    assert prediction["bird_name"] == "Viridis minor"
    assert set(by_url[good]) == {"predictions", "model_version"}
    message = "The download failed: the server answered with status 404"
    assert by_url[missing] == {"failure": {"code": "download_failed", "message": message}}
    assert totals.pop("time_taken") > 0
    assert totals == {"succeeded": 1, "failed": 1, "status": 200, "errors": []}


def test_finished_image_is_sent_before_slower_ones(frontend: httpx.Client, image_server: ImageServer) -> None:
    release = asyncio.Event()

    async def held(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response(body=flat(RED))

    slow, quick = image_server.add("/slow.png", held), image_server.add("/quick.png", flat(GREEN))
    answer = lines(frontend, {"images": [slow, quick]})
    assert next(answer)["url"] == quick
    image_server.loop.call_soon_threadsafe(release.set)
    assert [line.get("url") for line in answer] == [slow, None]


def test_stream_and_object_have_the_same_content(frontend: httpx.Client, image_server: ImageServer) -> None:
    urls = [image_server.add(f"/{n}.png", flat((n, 255 - n, 128))) for n in range(0, 250, 10)] + ["ftp://no"]
    body: dict[str, object] = {"images": urls, "k": 4}
    whole = frontend.post("/", json=body).json()
    *images, _ = lines(frontend, body)
    streamed = {line["url"]: line["predictions"] for line in images if "predictions" in line}
    assert {url: [p["bird_name"] for p in top] for url, top in streamed.items()} == {
        url: [p["bird_name"] for p in top] for url, top in whole["successful_results"].items()
    }
    failures = [{"url": line["url"], **line["failure"]} for line in images if "failure" in line]
    assert failures == whole["failures"]


def test_mistakes_are_in_the_only_line(frontend: httpx.Client) -> None:
    (totals,) = lines(frontend, {"images": [], "k": 99})
    assert totals["errors"] == ["No images provided", "Max allowed value of K is 10"]
    assert totals["succeeded"] == totals["failed"] == 0


def test_without_triton_a_streamed_request_gets_503(image_server: ImageServer) -> None:
    settings = Settings(triton_url=f"127.0.0.1:{free_port()}", download_allow_networks=LOOPBACK)
    url = image_server.add("/red.png", flat(RED))
    with running_frontend(settings) as frontend:
        response = httpx.post(f"{frontend}/", json={"images": [url]}, headers=NDJSON, timeout=30)
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert response.json()["errors"] == ["The inference server is not available. Try again later"]


@pytest.mark.parametrize("headers", [NDJSON, {}], ids=["lines", "object"])
def test_disconnect_cancels_the_work(
    frontend: httpx.Client, image_server: ImageServer, headers: dict[str, str]
) -> None:
    ended = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal ended
        try:
            await asyncio.sleep(30)
        finally:
            ended += 1
        return web.Response()

    urls = [image_server.add(f"/{n}.png", endless) for n in range(200)]
    with pytest.raises(httpx.ReadTimeout):
        frontend.post("/", json={"images": urls}, headers=headers, timeout=httpx.Timeout(60, read=1))
    begun = image_server.requests.total()
    assert 0 < begun < len(urls)
    assert eventually(lambda: ended == begun), f"{begun - ended} of {begun} downloads continue"
    assert image_server.requests.total() == begun  # and no new download started


def test_slow_reader_pauses_the_work(frontend: httpx.Client, image_server: ImageServer) -> None:
    """The client reads nothing of a long answer. Once all buffers are full, no more images are downloaded."""
    red = flat(RED)

    async def one(request: web.Request) -> web.StreamResponse:
        return web.Response(body=red)

    padding = "x" * 8000  # long lines fill the socket buffers quickly
    urls = [image_server.add(f"/{n}?{padding}", one) for n in range(1000)]
    body = json.dumps({"images": urls}).encode()
    head = "POST / HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\nContent-Type: application/json\r\n"
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect((frontend.base_url.host, frontend.base_url.port))
        reader.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        fetched = -1

        def at_rest() -> bool:
            nonlocal fetched
            before, fetched = fetched, image_server.requests.total()
            time.sleep(1)
            return 0 < before == fetched

        assert eventually(at_rest)
        assert fetched < len(urls)
        answer = b""
        while b'"succeeded":' not in answer[-300:]:
            received = reader.recv(1 << 16)
            assert received, "the answer was cut off"
            answer += received
    assert image_server.requests.total() == len(urls)
    assert b'"succeeded":1000' in answer[-300:]


def test_openapi_document_describes_the_lines(frontend: httpx.Client) -> None:
    paths = frontend.get("/openapi.json").json()["paths"]
    for path in ("/", "/files"):
        assert "application/x-ndjson" in paths[path]["post"]["responses"]["200"]["content"]
        assert "application/json" in paths[path]["post"]["responses"]["200"]["content"]
