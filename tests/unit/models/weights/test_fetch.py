"""Pinned files: cache before mirror before Internet, and only verified bytes are kept."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.image_server import Handler, ImageServer
from tools.models.weights.fetch import FetchError, PinnedFile, fetch

CONTENT = b"weights" * 1000
UNREACHABLE = "http://127.0.0.1:9/weights.bin"


def pinned(url: str = UNREACHABLE) -> PinnedFile:
    return PinnedFile("weights.bin", hashlib.sha256(CONTENT).hexdigest(), url)


def test_fetches_from_the_internet_once(image_server: ImageServer, tmp_path: Path) -> None:
    file = pinned(image_server.add("/weights.bin", CONTENT))
    for _ in range(2):
        assert fetch(file, cache=tmp_path).read_bytes() == CONTENT
    assert image_server.requests["/weights.bin"] == 1


def test_prefers_a_mirror_folder(tmp_path: Path) -> None:
    mirror = tmp_path / "a mirror"
    mirror.mkdir()
    (mirror / "weights.bin").write_bytes(CONTENT)
    assert fetch(pinned(), str(mirror), tmp_path / "cache").read_bytes() == CONTENT


def test_prefers_a_mirror_url(image_server: ImageServer, tmp_path: Path) -> None:
    image_server.add("/mirror/weights.bin", CONTENT)
    assert fetch(pinned(), image_server.url("/mirror/"), tmp_path).read_bytes() == CONTENT


def test_falls_back_to_the_internet(image_server: ImageServer, tmp_path: Path) -> None:
    file = pinned(image_server.add("/weights.bin", CONTENT))
    assert fetch(file, str(tmp_path / "empty"), tmp_path / "cache").read_bytes() == CONTENT


def test_keeps_nothing_with_another_checksum(image_server: ImageServer, tmp_path: Path) -> None:
    file = pinned(image_server.add("/weights.bin", CONTENT + b"!"))
    with pytest.raises(FetchError, match=r"could not fetch weights.bin .*checksum"):
        fetch(file, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_replaces_a_damaged_cached_file(image_server: ImageServer, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(CONTENT[:100])
    file = pinned(image_server.add("/weights.bin", CONTENT))
    assert fetch(file, cache=tmp_path).read_bytes() == CONTENT


def test_names_every_place_that_failed(tmp_path: Path) -> None:
    with pytest.raises(FetchError) as failed:
        fetch(pinned(), str(tmp_path / "nowhere"), tmp_path / "cache")
    assert "nowhere/weights.bin" in str(failed.value)
    assert UNREACHABLE in str(failed.value)


async def without_length(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(CONTENT)
    return response


async def cut_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(CONTENT[:100])
    assert request.transport is not None
    request.transport.close()
    return response


async def another_protocol(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    request.transport.close()
    return web.Response()


@pytest.mark.parametrize("answer", [cut_off, another_protocol])
def test_mirror_that_breaks_off_is_not_the_end(image_server: ImageServer, tmp_path: Path, answer: Handler) -> None:
    image_server.add("/mirror/weights.bin", answer)
    file = pinned(image_server.add("/weights.bin", CONTENT))
    assert fetch(file, image_server.url("/mirror"), tmp_path).read_bytes() == CONTENT


def test_mirror_url_with_a_space_is_a_failure_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"my mirror/weights\.bin: URL can't contain control characters"):
        fetch(pinned(), "http://127.0.0.1:9/my mirror", tmp_path)


def test_progress_ends_its_line_without_a_length(
    image_server: ImageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fetch(pinned(image_server.add("/weights.bin", without_length)), cache=tmp_path)
    assert capsys.readouterr().err.endswith("\r  weights.bin: 0.0 MB\n")
