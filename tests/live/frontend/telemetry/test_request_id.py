"""A client's X-Request-ID, if short and plain, is on every answer and in Triton's log."""

from __future__ import annotations

import re

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.telemetry.request_id import request_id
from tests.support.image_server import ImageServer
from tests.support.images import RED, flat
from tests.support.processes import eventually
from tools.serve.triton_process import TritonServer
from tools.triton.arguments import CONTROL_HEADER
from tools.triton.control_key import read_key

MADE = re.compile(r"[0-9a-f]{32}")


@pytest.mark.parametrize("plain", ["a", "7f3c", "0b5c9d6e-8f1a-4b7e-9d8e-000000000001", "a.b_c:d/e+f=@g", "x" * 128])
def test_short_plain_id_is_kept(plain: str) -> None:
    assert request_id(plain) == plain


@pytest.mark.parametrize("other", [None, "", " ", "x" * 129, "a b", "a\tb", "-a", "a;b", 'a"b', "é", "a#1", "{{a}}"])
def test_other_ids_are_replaced(other: str | None) -> None:
    assert MADE.fullmatch(request_id(other))


@given(st.text())
def test_every_id_is_short_and_plain(offered: str) -> None:
    assert re.fullmatch(r"[!-~]{1,128}", request_id(offered))


def test_every_answer_has_the_id(frontend: httpx.Client, image_server: ImageServer) -> None:
    url = image_server.add("/red.png", flat(RED))
    answers = [
        frontend.post("/", json={"images": [url]}, headers={"X-Request-ID": "mine"}),
        frontend.post("/", json={"images": [url]}, headers={"X-Request-ID": "mine", "Accept": "application/x-ndjson"}),
        frontend.post("/", content="no JSON", headers={"X-Request-ID": "mine"}),
        frontend.post("/", json={"images": []}, headers={"X-Request-ID": "mine"}),
        frontend.post("/files", files={"files": flat(RED)}, headers={"X-Request-ID": "mine"}),
        frontend.post("/files", content="no form", headers={"X-Request-ID": "mine"}),
        frontend.get("/", headers={"X-Request-ID": "mine"}),
        frontend.get("/nowhere", headers={"X-Request-ID": "mine"}),
        frontend.delete("/", headers={"X-Request-ID": "mine"}),
        frontend.get("/metrics", headers={"X-Request-ID": "mine"}),
    ]
    assert [answer.headers.get_list("X-Request-ID") for answer in answers] == [["mine"]] * len(answers)
    made = {frontend.get("/health/live").headers["X-Request-ID"] for _ in range(3)}
    assert len(made) == 3


def test_triton_logs_the_id_of_each_image(
    triton: TritonServer, frontend: httpx.Client, image_server: ImageServer
) -> None:
    urls = [image_server.add(f"/{number}.png", flat((0, 200, 10 + number))) for number in range(3)]
    set_verbose(triton, 1)
    try:
        frontend.post("/", json={"images": urls}, headers={"X-Request-ID": "find-me"})
    finally:
        set_verbose(triton, 0)
    expected = {f"find-me#{number}" for number in range(3)}
    assert eventually(lambda: set(re.findall(r"find-me#\d+", triton.log.read_text())) == expected)


def set_verbose(triton: TritonServer, level: int) -> None:
    key = {CONTROL_HEADER: read_key(triton.http_url) or ""}
    httpx.post(f"{triton.http_url}/v2/logging", json={"log_verbose_level": level}, headers=key).raise_for_status()
