"""POST /files: the answers, limits and codes of POST /, with many files in bounded memory."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

from frontend.settings import Settings
from tests.support.frontend_server import running_frontend
from tests.support.images import BLUE, GREEN, RED, flat
from tools.serve.triton_process import TritonServer

UPLOAD_INVALID = "The body must be multipart/form-data, with each image as a file in the field files"
FORM = "multipart/form-data; boundary=b"
File = tuple[str, tuple[str, bytes]]


def file(name: str, content: bytes) -> File:
    return ("files", (name, content))


def upload(frontend: httpx.Client, files: list[File], status: int = 200, **query: Any) -> dict[str, Any]:
    response = frontend.post("/files", files=files, params=query)
    assert response.status_code == status
    answer: dict[str, Any] = response.json()
    return answer


def test_names_the_species_of_every_file(frontend: httpx.Client) -> None:
    files = [file("red.jpg", flat(RED, "JPEG")), file("grün 鳥.png", flat(GREEN)), file("blue.bmp", flat(BLUE, "BMP"))]
    answer = upload(frontend, files, k=1)
    best = {name: predictions[0]["bird_name"] for name, predictions in answer["successful_results"].items()}
    assert list(best.items()) == [
        ("red.jpg", "Rubra maxima"),
        ("grün 鳥.png", "Viridis minor"),
        ("blue.bmp", "Caerulea"),
    ]
    assert [len(predictions) for predictions in answer["successful_results"].values()] == [1, 1, 1]
    assert answer["failures"] == answer["errors"] == []


def test_equal_file_names_are_numbered(frontend: httpx.Client) -> None:
    files = [file("a.png", flat(RED)), file("a.png", flat(GREEN)), file("a.png (2)", flat(BLUE)), file("a.png", b"")]
    answer = upload(frontend, files)
    best = {name: predictions[0]["bird_name"] for name, predictions in answer["successful_results"].items()}
    assert best == {"a.png": "Rubra maxima", "a.png (2)": "Viridis minor", "a.png (2) (2)": "Caerulea"}
    assert answer["failed_results"] == ["a.png (3)"]


def test_one_bad_file_never_affects_another(triton: TritonServer) -> None:
    files = [
        file("page.jpg", b"<html></html>"),
        file("large.png", bytes(200_001)),
        file("empty.png", b""),
        file("good.png", flat(GREEN)),
    ]
    with (
        running_frontend(Settings(triton_url=triton.grpc_url, download_max_bytes=200_000)) as url,
        httpx.Client(base_url=url, timeout=30) as frontend,
    ):
        answer = upload(frontend, files)
    assert list(answer["successful_results"]) == ["good.png"]
    codes = {failure["url"]: failure["code"] for failure in answer["failures"]}
    assert codes == {"page.jpg": "not_an_image", "large.png": "too_large", "empty.png": "not_an_image"}


def test_streams_one_line_per_file(frontend: httpx.Client) -> None:
    files = [file(f"{n}.png", flat(RED)) for n in range(40)] + [file("bad.png", b"bad")]
    response = frontend.post("/files", files=files, headers={"Accept": "application/x-ndjson"})
    *images, totals = map(json.loads, response.text.splitlines())
    assert sorted(line["url"] for line in images) == sorted(name for _, (name, _) in files)
    assert totals | {"time_taken": 0} == {"succeeded": 40, "failed": 1, "time_taken": 0, "status": 200, "errors": []}


@pytest.mark.parametrize(
    ("query", "errors"),
    [({"k": -1}, ["Min allowed value of K is 0"]), ({"k": 11}, ["Max allowed value of K is 10"])],
)
def test_mistakes_are_reported_as_for_urls(frontend: httpx.Client, query: dict[str, int], errors: list[str]) -> None:
    assert upload(frontend, [file("a.png", flat(RED))], **query)["errors"] == errors


def test_form_without_files_has_no_images(frontend: httpx.Client) -> None:
    empty = b'--b\r\nContent-Disposition: form-data; name="files"; filename=""\r\n\r\n\r\n--b--\r\n'
    for body in (b"--b--\r\n", empty):
        response = frontend.post("/files", content=body, headers={"Content-Type": FORM})
        assert response.status_code == 200
        assert response.json()["errors"] == ["No images provided"]


def test_too_many_files_are_refused(triton: TritonServer) -> None:
    with (
        running_frontend(Settings(triton_url=triton.grpc_url, max_images=3)) as url,
        httpx.Client(base_url=url, timeout=30) as frontend,
    ):
        answer = upload(frontend, [file("a.png", flat(RED))] * 4)
    assert answer["errors"] == ["Too many images provided. Max 3 images allowed"]
    assert answer["successful_results"] == {}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{}", "application/json"),
        (b"", "multipart/form-data"),
        (b"", FORM),
        (b"nonsense", FORM),
        (
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nabc',
            FORM,
        ),
        (b'--b\r\nContent-Disposition: form-data; name="files"\r\n\r\n3\r\n--b--', FORM),
        (b"--b\r\n" + b"X: y\r\n" * 9999, FORM),
        (b"--b\r\nX: " + b"y" * 99999, FORM),
    ],
    ids=["JSON", "no boundary", "nothing", "nonsense", "cut off", "no file", "headers", "long header"],
)
def test_other_bodies_get_422(frontend: httpx.Client, body: bytes, content_type: str) -> None:
    response = frontend.post("/files", content=body, headers={"Content-Type": content_type})
    assert response.status_code == 422
    assert response.json()["errors"] == [UPLOAD_INVALID]
    assert response.json()["successful_results"] == {}


def test_non_numeric_k_gets_422(frontend: httpx.Client) -> None:
    assert upload(frontend, [file("a.png", flat(RED))], 422, k="x")["errors"] == ["k must be a whole number"]


def test_late_body_gets_408(triton: TritonServer) -> None:
    with running_frontend(Settings(triton_url=triton.grpc_url, request_timeout=1)) as url, socket.socket() as slow:
        host, _, port = url.removeprefix("http://").partition(":")
        slow.connect((host, int(port)))
        slow.settimeout(20)
        slow.sendall(b"POST /files HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n")
        slow.sendall(b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n")
        answer = slow.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"The body took too long to arrive" in answer


def test_gigabyte_upload_needs_bounded_memory(frontend: httpx.Client) -> None:
    """The frontend runs in this process, so the growth of this process is measured while 1 GB is sent."""
    process = psutil.Process()
    peak = start = process.memory_info().rss
    content = bytes(4 << 20)

    def body() -> Iterator[bytes]:
        nonlocal peak
        for n in range(256):
            yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="%d"\r\n\r\n' % n
            for offset in range(0, len(content), 1 << 20):
                yield content[offset : offset + (1 << 20)]
            yield b"\r\n"
            peak = max(peak, process.memory_info().rss)
        yield b"--b--"

    response = frontend.post("/files", content=body(), headers={"Content-Type": FORM}, timeout=120)
    assert len(response.json()["failures"]) == 256
    assert peak - start < 600 << 20
