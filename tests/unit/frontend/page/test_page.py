"""The page as it is sent: its size, its language, and that its parts exist."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from frontend.i18n.messages import catalogue, languages
from frontend.page.page import STATIC
from frontend.settings import Settings
from tests.support.frontend_server import running_frontend
from tools import ROOT

MODELS = ROOT / "docs" / "models.md"
MAX_BYTES = 40_000  # of the page with its scripts, style and pictures, as sent
_ADDRESS = re.compile(r'(?:src|href)="(static/[^"]+)"')
_MESSAGE = re.compile(r'\btext\("(\w+)"')


@pytest.fixture(scope="module")
def frontend() -> Iterator[httpx.Client]:
    settings = Settings(
        triton_url="127.0.0.1:1",
        download_max_bytes=7_000_000,
        not_sure_below=0.25,
        min_score=0.125,
        rate_limit="30/minute",
    )
    with running_frontend(settings) as url, httpx.Client(base_url=url) as client:
        yield client


def sent_bytes(client: httpx.Client, path: str, language: str) -> int:
    with client.stream("GET", path, headers={"Accept-Language": language, "Accept-Encoding": "gzip"}) as response:
        assert response.status_code == 200
        return sum(len(chunk) for chunk in response.iter_raw())


def test_refused_compression_is_not_used(frontend: httpx.Client) -> None:
    response = frontend.get("/", headers={"Accept-Encoding": "gzip;q=0, identity"})
    assert "Content-Encoding" not in response.headers


@pytest.mark.parametrize("language", languages())
def test_page_is_small_in_every_language(frontend: httpx.Client, language: str) -> None:
    html = frontend.get("/", headers={"Accept-Language": language}).text
    scripts = [f"static/{path.name}" for path in STATIC.glob("*.js") if path.name != "docs.js"]
    addresses = {"", *scripts, *_ADDRESS.findall(html)}
    assert {"static/page.css", "static/cardinal.svg"} <= addresses
    total = sum(sent_bytes(frontend, f"/{address}", language) for address in addresses)
    assert total < MAX_BYTES


def test_page_is_the_same_without_compression(frontend: httpx.Client) -> None:
    plain = frontend.get("/", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert plain.text == frontend.get("/").text
    assert "Accept-Encoding" in plain.headers["Vary"]


@pytest.mark.parametrize("language", languages())
def test_reliability_on_the_page_is_the_documented_one(language: str) -> None:
    measured = re.search(r"^\| 0\.45 or more \| (\d+) \| (\d+) \(", MODELS.read_text("utf-8"), re.MULTILINE)
    assert measured
    assert sorted(re.findall(r"\d+", catalogue(language)["page"]["reliability"])) == sorted(measured.groups())


def test_page_has_the_limits_of_the_settings(frontend: httpx.Client) -> None:
    html = frontend.get("/").text
    assert "up to 7 MB each" in html
    assert 'value="12.5"' in html
    assert '"not_sure_below": 0.25' in html
    assert '"max_images": 30' in html  # more in one request would exceed the rate limit


def test_scripts_use_only_messages_that_exist(frontend: httpx.Client) -> None:
    html = frontend.get("/").text
    for path in STATIC.glob("*.js"):
        for key in _MESSAGE.findall(path.read_text("utf-8")):
            assert f'"{key}": ' in html, f"{path.name}: {key}"
