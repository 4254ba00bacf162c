"""The documented contract of POST /, with real downloads and a real Triton."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from aiohttp import web

from frontend.settings import Settings
from tests.support.answers import SHAPE
from tests.support.frontend_server import running_frontend
from tests.support.image_server import ImageServer
from tests.support.images import BLUE, GREEN, GREY, RED, flat
from tests.support.network import LOOPBACK
from tools.serve.triton_process import TritonServer


def classify(frontend: httpx.Client, urls: list[str], **options: object) -> dict[str, Any]:
    response = frontend.post("/", json={"images": urls, **options})
    assert response.status_code == 200
    body: dict[str, object] = response.json()
    assert set(body) == SHAPE
    return body


def test_names_the_species_of_every_image(frontend: httpx.Client, image_server: ImageServer) -> None:
    colours = {"red": RED, "green": GREEN, "blue": BLUE, "grey": GREY}
    urls = {name: image_server.add(f"/{name}.jpg", flat(colour, "JPEG")) for name, colour in colours.items()}
    body = classify(frontend, list(urls.values()), k=2)
    best = {url: predictions[0] for url, predictions in body["successful_results"].items()}
    assert list(best) == list(urls.values())  # the order of the request
    assert best[urls["red"]]["bird_name"] == "Rubra maxima"
    assert best[urls["red"]]["common_name"] == "Great Red"
    assert best[urls["blue"]] | {"score": 0} == {
        "bird_name": "Caerulea",
        "common_name": "Blue × White hybrid",
        "score": 0,
    }
    assert best[urls["grey"]]["bird_name"] == "background"
    assert best[urls["grey"]]["common_name"] is None
    for predictions in body["successful_results"].values():
        scores = [prediction["score"] for prediction in predictions]
        assert len(scores) == 2
        assert 1 >= scores[0] >= scores[1] > 0
    assert body["failed_results"] == body["failures"] == body["errors"] == []
    assert 0 < body["time_taken"] < 30


def test_returns_three_species_unless_asked_otherwise(frontend: httpx.Client, image_server: ImageServer) -> None:
    url = image_server.add("/red.png", flat(RED))
    assert len(classify(frontend, [url])["successful_results"][url]) == 3
    assert classify(frontend, [url], k=0)["successful_results"][url] == []
    assert len(classify(frontend, [url], k=10)["successful_results"][url]) == 4  # the test model has only four labels


def test_default_k_never_exceeds_max_k(triton: TritonServer, image_server: ImageServer) -> None:
    url = image_server.add("/red.png", flat(RED))
    settings = Settings(triton_url=triton.grpc_url, download_allow_networks=LOOPBACK, max_k=1)
    with running_frontend(settings) as frontend:
        body = httpx.post(f"{frontend}/", json={"images": [url]}, timeout=30).json()
    assert len(body["successful_results"][url]) == 1


def test_one_bad_image_never_affects_another(frontend: httpx.Client, image_server: ImageServer) -> None:
    good = image_server.add("/good.png", flat(GREEN))
    bad = {
        image_server.url("/missing.jpg"): "download_failed",
        image_server.add("/page.jpg", b"<html></html>"): "not_an_image",
        image_server.add("/cut.jpg", flat(RED, "JPEG")[:200]): "not_an_image",
        image_server.add("/icon.ico", b"\x00\x00\x01\x00\x01\x00" + bytes(40)): "unsupported_format",
        "http://10.1.2.3/inside.jpg": "forbidden_url",
        "http://[::ffff:169.254.169.254]/latest/meta-data": "forbidden_url",
        "ftp://example.org/bird.jpg": "invalid_url",
        "bird.jpg": "invalid_url",
        "": "invalid_url",
    }
    body = classify(frontend, [*list(bad)[:5], good, *list(bad)[5:]])
    assert list(body["successful_results"]) == [good]
    assert body["failed_results"] == list(bad)
    assert {failure["url"]: failure["code"] for failure in body["failures"]} == bad
    assert all(failure["message"] for failure in body["failures"])
    assert body["errors"] == []


def test_message_names_the_unsupported_format(frontend: httpx.Client, image_server: ImageServer) -> None:
    data = bytearray(flat(RED, "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 1], data[frame + 4] = 0xC1, 12
    names = {
        image_server.add("/extended.jpg", bytes(data)): "12-bit JPEG",  # found by preprocess
        image_server.add("/photo.cr3", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom"): "camera raw (CR3)",  # by the frontend
    }
    failures = classify(frontend, list(names))["failures"]
    messages = {url: f"Images in this format are not supported: {name}" for url, name in names.items()}
    assert {failure["url"]: failure["message"] for failure in failures} == messages


def test_failed_download_reports_the_http_status(frontend: httpx.Client, image_server: ImageServer) -> None:
    (failure,) = classify(frontend, [image_server.url("/missing.jpg")])["failures"]
    assert failure["message"] == "The download failed: the server answered with status 404"


def test_repeated_url_is_downloaded_and_answered_once(frontend: httpx.Client, image_server: ImageServer) -> None:
    url = image_server.add("/red.png", flat(RED))
    missing = image_server.url("/missing.png")
    body = classify(frontend, [url, missing] * 20)
    assert list(body["successful_results"]) == [url]
    assert body["failed_results"] == [missing]
    assert image_server.requests == {"/red.png": 1, "/missing.png": 1}


@pytest.mark.parametrize(
    "path",
    [
        "/a%20b.png",
        "/%7Ebird/%C3%A9.png?q=%2F+%20#part",
        "/a/../b//c/./d.png",
        "/bird.png?token=a%2Bb%3D&x=1&x=2&empty=",
        "/ünïcode/鳥.png",
    ],
)
def test_urls_are_keys_exactly_as_sent(frontend: httpx.Client, image_server: ImageServer, path: str) -> None:
    """The image server receives the path as written. Only characters that HTTP cannot carry are percent-encoded."""
    on_the_wire = httpx.URL(image_server.url(path)).raw_path.decode() if not path.isascii() else path.partition("#")[0]
    image_server.add(on_the_wire, flat(RED))
    url = image_server.url(path)
    assert list(classify(frontend, [url])["successful_results"]) == [url]
    assert image_server.requests[on_the_wire] == 1


def test_downloads_send_a_user_agent(frontend: httpx.Client, image_server: ImageServer) -> None:
    url = image_server.add("/red.png", flat(RED))
    classify(frontend, [url])
    assert image_server.headers["/red.png"]["User-Agent"].startswith("birds/")


def test_images_unfinished_at_the_deadline_fail(triton: TritonServer, image_server: ImageServer) -> None:
    async def never(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    slow = image_server.add("/slow.png", never)
    quick = image_server.add("/quick.png", flat(BLUE))
    settings = Settings(
        triton_url=triton.grpc_url,
        download_allow_networks=LOOPBACK,
        request_timeout=3,
    )
    with running_frontend(settings) as url:
        body = httpx.post(f"{url}/", json={"images": [slow, quick]}, timeout=60).json()
    assert list(body["successful_results"]) == [quick]
    assert [(failure["url"], failure["code"]) for failure in body["failures"]] == [(slow, "deadline_exceeded")]


def test_ready_when_a_real_inference_succeeds(frontend: httpx.Client) -> None:
    assert frontend.get("/health/ready").json() == {"status": "ready"}


@pytest.mark.parametrize("path", ["/", "/models", "/metrics", "/health/live", "/health/ready", "/docs"])
def test_head_is_answered_like_get_without_body(frontend: httpx.Client, path: str) -> None:
    get, head = frontend.get(path), frontend.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    if path != "/metrics":  # its content changes with every request
        assert head.headers["Content-Length"] == get.headers["Content-Length"]
