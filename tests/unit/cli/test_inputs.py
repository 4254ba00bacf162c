"""Names of images: standard input, read once."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from birds_client import Photo

from tools.cli.inputs import SourceError, find_images

STDIN_NAMES = ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"]


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"an image")))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("stdin")
@pytest.mark.parametrize("second", STDIN_NAMES)
def test_standard_input_is_read_once(second: str) -> None:
    assert find_images(["-", "a.png", second], []).images == [Photo("-", b"an image"), Path("a.png")]


@pytest.mark.usefixtures("stdin")
@pytest.mark.parametrize("second", STDIN_NAMES)
def test_a_list_on_standard_input_is_read_once(second: str) -> None:
    assert find_images([], ["-", second]).images == [Path("an image")]


@pytest.mark.usefixtures("stdin")
@pytest.mark.parametrize("image", STDIN_NAMES)
@pytest.mark.parametrize("path", STDIN_NAMES)
def test_standard_input_is_an_image_or_a_list(image: str, path: str) -> None:
    with pytest.raises(SourceError, match="not both"):
        find_images([image], [path])


@pytest.mark.parametrize("name", STDIN_NAMES)
def test_a_list_on_standard_input_cannot_name_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"a.png\n{name}\n".encode())))
    with pytest.raises(SourceError, match="cannot name an image on standard input"):
        find_images([], ["-"])


@pytest.mark.parametrize("name", ["HTTPS://x/a.jpg", "ftp://x/a.jpg", "file:///a.jpg"])
def test_name_with_a_scheme_is_a_url(name: str) -> None:
    """The service says what is wrong with it; as a path it would be another name (ftp:/x/a.jpg) that does not exist."""
    assert find_images([name], []).images == [name]
