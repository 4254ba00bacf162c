"""Answers in the reader's language, with equal codes in all languages."""

from __future__ import annotations

import httpx
import pytest

from frontend.i18n.messages import catalogue, languages
from tests.support.image_server import ImageServer
from tests.support.images import RED, flat


@pytest.mark.parametrize("language", languages())
def test_codes_are_equal_in_every_language(frontend: httpx.Client, image_server: ImageServer, language: str) -> None:
    urls = [image_server.url("/missing"), image_server.add("/page", b"<html>"), "ftp://x/", "http://10.0.0.1/"]
    good = image_server.add("/red.png", flat(RED))
    answer = frontend.post("/", json={"images": [*urls, good]}, headers={"Accept-Language": language})
    assert answer.headers["Content-Language"] == language
    assert "Accept-Language" in answer.headers["Vary"]
    failures = answer.json()["failures"]
    assert [failure["code"] for failure in failures] == [
        "download_failed",
        "not_an_image",
        "invalid_url",
        "forbidden_url",
    ]
    assert failures[2]["message"] == catalogue(language)["failures"]["url_scheme"]
    assert (
        answer.json()["successful_results"][good][0]["common_name"] == "Great Red"
    )  # names of birds are not translated


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("/", b'{"images": []}', "Keine Bilder angegeben"),
        ("/", b"nonsense", 'Der Inhalt der Anfrage muss JSON sein, etwa {"images": ["https://…"], "k": 3}'),
        ("/files", b"nonsense", catalogue("de")["errors"]["upload_invalid"].format(field="files")),
        ("/files?k=x", b"", "k muss eine ganze Zahl sein"),
    ],
)
def test_request_mistakes_are_translated(frontend: httpx.Client, path: str, body: bytes, sentence: str) -> None:
    headers = {"Accept-Language": "de", "Content-Type": "application/json"}
    answer = frontend.post(path, content=body, headers=headers)
    assert answer.json()["errors"] == [sentence]
    assert answer.headers["Content-Language"] == "de"
