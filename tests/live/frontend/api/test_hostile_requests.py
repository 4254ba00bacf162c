"""The service under bad input: other images are still answered, and no answer reveals internals."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import psutil
import pytest
import tritonclient.grpc
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frontend.settings import Settings
from tests.support.answers import SHAPE
from tests.support.frontend_server import running_frontend
from tests.support.hostile_images import claiming, webp_claiming
from tests.support.image_server import ImageServer
from tests.support.images import GREEN, RED, flat
from tests.support.network import LOOPBACK
from tests.support.processes import eventually
from tests.support.raw_http import address_of
from tools.serve.triton_process import TritonServer


@pytest.fixture(scope="module")
def strict_frontend(triton: TritonServer) -> Iterator[httpx.Client]:
    """A frontend with a download timeout of five seconds and a limit of 1 MB per image."""
    strict = Settings(
        triton_url=triton.grpc_url, download_allow_networks=LOOPBACK, download_timeout=5, download_max_bytes=1_000_000
    )
    with running_frontend(strict) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def classify(client: httpx.Client, urls: list[str]) -> dict[str, Any]:
    response = client.post("/", json={"images": urls, "k": 1})
    assert response.status_code == 200
    body: dict[str, Any] = response.json()
    assert body["errors"] == []
    answered = [*body["successful_results"], *body["failed_results"]]
    assert sorted(answered) == sorted({url if len(url) <= 8192 else url[:100] for url in urls})
    return body


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(bytes(1 << 16))


async def sleepy(_: web.Request) -> web.Response:
    await asyncio.sleep(60)
    return web.Response()


async def inward(_: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "http://169.254.169.254/latest/meta-data/?secret=1"})


async def round_and_round(request: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": request.path})


async def broken(_: web.Request) -> web.Response:
    return web.Response(status=500, text="Traceback: /srv/inner/secret.py")


async def partial(_: web.Request) -> web.Response:
    return web.Response(status=206, body=flat(RED))


BAD_FILES = {
    "/page.jpg": (b"<html><body>Not found</body></html>", "not_an_image"),
    "/picture.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format"),
    "/figure.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "unsupported_format"),
    "/paper.pdf": (b"%PDF-1.7\n", "not_an_image"),
    "/empty.jpg": (b"", "not_an_image"),
    "/byte.jpg": (b"\xff", "not_an_image"),
    "/bomb.zip": (b"PK\x03\x04" + bytes(1000), "not_an_image"),
    "/bomb.gz": (gzip.compress(bytes(50_000_000)), "not_an_image"),
    "/large.jpg": (b"\xff\xd8\xff" + bytes(1_100_000), "too_large"),
    **{f"/bomb.{kind}": (claiming(65_535, kind), "too_many_pixels") for kind in ("PNG", "JPEG", "GIF", "BMP")},
    "/bomb.webp": (webp_claiming(16_384), "too_many_pixels"),
    **{f"/cut{tenth}.jpg": (flat(RED, "JPEG")[: 630 * tenth // 10], "not_an_image") for tenth in range(1, 10)},
}
BAD_HABITS = {
    "/endless": (endless, "too_large"),
    "/sleepy": (sleepy, "download_timeout"),
    "/inward": (inward, "forbidden_url"),
    "/round": (round_and_round, "download_failed"),
    "/broken": (broken, "download_failed"),
    "/partial": (partial, "download_failed"),
    "/missing": (None, "download_failed"),
}
BAD_URLS = {
    "": "invalid_url",
    "bird.jpg": "invalid_url",
    "file:///etc/passwd": "invalid_url",
    "ftp://example.org/bird.jpg": "invalid_url",
    "http://user:password@example.org/": "invalid_url",
    "http://93.184.216.34:22/": "invalid_url",
    "http://example.org/" + "a" * 10_000: "invalid_url",
    "http://example.org/\0": "invalid_url",
    "http://example.org/\r\nHost: inside": "invalid_url",
    "http://[fe80::1%25eth0]/": "invalid_url",
    "http://%31%32%37.0.0.1/": "invalid_url",
    "http://\U0001f426.\U0001f426\U0001f426/": "invalid_url",
    "http://10.0.0.1/?secret=1": "forbidden_url",
    "http://0xA9FEA9FE/latest/meta-data": "forbidden_url",
    "http://①⓪.⓪.⓪.①/": "forbidden_url",
    "http://[::ffff:10.0.0.1]/": "forbidden_url",
    "http://[fd00::1]/": "forbidden_url",
    "http://168.63.129.16/": "forbidden_url",
    "http://no-such-name.invalid/": "download_failed",
}


def serve_bad_habits(image_server: ImageServer) -> dict[str, str]:
    """Return every bad URL with the code that it must fail with."""
    expected = {}
    for path, (content, code) in {**BAD_FILES, **BAD_HABITS}.items():
        expected[image_server.url(path) if content is None else image_server.add(path, content)] = code
    return {**expected, **BAD_URLS}


def test_each_bad_input_fails_for_its_own_reason(
    strict_frontend: httpx.Client, image_server: ImageServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "frontend")
    expected = serve_bad_habits(image_server)
    good = [image_server.add(f"/good{number}.jpg", flat(GREEN)) for number in range(10)]
    body = classify(strict_frontend, [*expected, *good])
    expected = {url if len(url) <= 8192 else url[:100]: code for url, code in expected.items()}
    assert {failure["url"]: failure["code"] for failure in body["failures"]} == expected
    assert all(body["successful_results"][url][0]["bird_name"] == "Viridis minor" for url in good)
    messages = " ".join(failure["message"] for failure in body["failures"])
    assert not re.search(
        r"Traceback|/srv|\.py|169\.254|127\.0\.0|Errno|aiohttp|Pillow|PIL|secret|Cannot connect", messages
    )
    assert "secret" not in caplog.text


def test_thousand_urls_with_300_bad_ones(strict_frontend: httpx.Client, image_server: ImageServer) -> None:
    image = flat(GREEN, "JPEG")
    good = [image_server.add(f"/good{number}.jpg", image) for number in range(700)]
    bad = {}
    for number in range(60):
        bad[image_server.url(f"/missing{number}.jpg")] = "download_failed"
        bad[image_server.add(f"/page{number}.jpg", b"<html>")] = "not_an_image"
        bad[image_server.add(f"/cut{number}.jpg", image[:400])] = "not_an_image"
        bad[f"http://10.0.0.{number}/bird.jpg"] = "forbidden_url"
        bad[f"gopher://example.org/{number}"] = "invalid_url"
    mixed = [url for pair in zip([*bad, *good[300:]], [*good[:300], *good[:400]], strict=True) for url in pair]
    urls = list(dict.fromkeys(mixed))
    assert len(urls) == 1000
    body = classify(strict_frontend, urls)
    assert Counter(failure["code"] for failure in body["failures"]) == Counter(bad.values())
    assert set(body["failed_results"]) == set(bad)
    assert len(body["successful_results"]) == 700


def test_same_url_500_times_is_one_download(strict_frontend: httpx.Client, image_server: ImageServer) -> None:
    url = image_server.add("/one.jpg", flat(GREEN))
    response = strict_frontend.post("/", json={"images": [url] * 500, "k": 1})
    assert list(response.json()["successful_results"]) == [url]
    assert image_server.requests["/one.jpg"] == 1


def test_files_with_a_bad_header_never_reach_triton(
    strict_frontend: httpx.Client, image_server: ImageServer, triton: TritonServer
) -> None:
    def seen_by_triton() -> int:
        with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as client:
            counts = client.get_inference_statistics("preprocess", as_json=True)["model_stats"][0]["inference_stats"]
        return sum(int(counts.get(outcome, {}).get("count", 0)) for outcome in ("success", "fail"))

    def settled(at_least: int) -> int:
        """Wait for the expected count. Triton counts a request after it has answered it."""
        deadline = time.monotonic() + 60
        while (seen := seen_by_triton()) < at_least and time.monotonic() < deadline:
            time.sleep(0.05)
        return seen

    classify(strict_frontend, [image_server.add("/before.jpg", flat(GREEN))])
    time.sleep(0.5)
    before = seen_by_triton()
    bad = [path for path in BAD_FILES if not path.startswith("/cut")]
    body = classify(strict_frontend, [image_server.add(path, BAD_FILES[path][0]) for path in bad])
    assert len(body["failed_results"]) == len(bad)
    uncached = flat((3, 141, 59))
    classify(strict_frontend, [image_server.add("/after.jpg", uncached)])
    assert settled(before + 1) == before + 1


def test_too_large_names_the_limit_of_triton(triton: TritonServer, image_server: ImageServer) -> None:
    """The limit of the frontend is higher here than the limit of `preprocess`."""
    generous = Settings(triton_url=triton.grpc_url, download_allow_networks=LOOPBACK, download_max_bytes=50_000_000)
    url = image_server.add("/large.jpg", flat(GREEN, "JPEG") + bytes(20_000_000))
    with running_frontend(generous) as address, httpx.Client(base_url=address, timeout=60) as client:
        (failure,) = classify(client, [url])["failures"]
    assert failure["code"] == "too_large"
    assert failure["message"] == "The file is larger than 20000000 bytes"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x80", id="not UTF-8"),
        pytest.param(b"[" * 100_000, id="100,000 brackets"),
        pytest.param(b'{"k": ' + b"1" * 5_000 + b"}", id="a number of 5,000 digits"),
        pytest.param(b'{"images": ["\\ud800"]}', id="a lone surrogate"),
        pytest.param(b'{"images": NaN}', id="NaN"),
        pytest.param(b"", id="empty"),
    ],
)
def test_malformed_body_gets_422(strict_frontend: httpx.Client, content: bytes) -> None:
    response = strict_frontend.post("/", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert response.json()["errors"]
    assert response.json()["time_taken"] == 0


def test_unread_answers_hold_bounded_memory(triton: TritonServer, image_server: ImageServer) -> None:
    """Each of 40 clients asks for an answer of 16 MB and reads nothing. The frontend runs in this process."""
    process = psutil.Process()
    # The frontend is busy for seconds, in which the download of the good image waits.
    patient = Settings(triton_url=triton.grpc_url, download_allow_networks=LOOPBACK, download_timeout=60)
    url = image_server.add("/good.jpg", flat(GREEN))
    urls = ["http://10.0.0.1/".ljust(8000, "a") + str(number) for number in range(1000)]
    body = json.dumps({"images": urls}).encode()
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with ExitStack() as stack:
        frontend = stack.enter_context(running_frontend(patient))
        peak = start = process.memory_info().rss
        for _ in range(40):
            client = stack.enter_context(socket.create_connection(address_of(frontend)))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(head.encode() + body)
            peak = max(peak, process.memory_info().rss)

        def is_answered() -> bool:
            return list(httpx.post(frontend, json={"images": [url]}, timeout=60).json()["successful_results"]) == [url]

        assert eventually(is_answered)  # it is refused while the others' images are too many
        peak = max(peak, process.memory_info().rss)
    print(f"grown by {(peak - start) / 1e6:.0f} MB")
    assert peak - start < 500_000_000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
BODIES = st.one_of(
    JSON,
    st.fixed_dictionaries({}, optional={"images": JSON, "k": JSON, "extra": JSON}),
    st.fixed_dictionaries({"images": st.lists(st.text(max_size=30), max_size=4)}, optional={"k": st.integers(-2, 12)}),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(BODIES.map(lambda body: json.dumps(body).encode()), st.binary(max_size=60)))
def test_any_body_gets_the_documented_shape(strict_frontend: httpx.Client, content: bytes) -> None:
    response = strict_frontend.post("/", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code in (200, 422)
    body = response.json()
    assert set(body) == SHAPE
    assert response.status_code == 200 or body["errors"]
    assert not body["successful_results"]
