"""What a person names (files, folders, URLs, lists of them) as images."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from birds_client import Image, Photo

from tools.errors import UsageError

STDIN = "-"
SUFFIXES = {".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".mpo", ".png", ".webp"}  # what is taken from a folder
_URL_SCHEMES = ("http://", "https://")


class SourceError(UsageError):
    """There is nothing to be had there; the text says what and why."""


def images(names: Iterable[str], lists: Iterable[str]) -> list[Image]:
    """Every distinct image, in the order named: files, those in folders, URLs, `-` for one on standard input.

    `lists` are files with one such name a line, `-` for standard input; blank lines and those that start with # are
    left out. Raises SourceError for a list or folder that cannot be read.
    """
    named = [*names, *(line for path in lists for line in _lines(path))]
    return list(dict.fromkeys(image for name in named for image in _expand(name)))


def name_of(image: Image) -> str:
    """How results name an image: as it was named, or as the folder has it."""
    return image.name if isinstance(image, Photo) else str(image)


def _expand(name: str) -> Iterator[Image]:
    if name == STDIN:
        yield Photo(STDIN, sys.stdin.buffer.read())
    elif name.lower().startswith(_URL_SCHEMES):
        yield name
    elif Path(name).is_dir():
        yield from _in_folder(Path(name))
    else:
        yield Path(name)


def _in_folder(folder: Path) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        raise SourceError(f"{error.filename}: {error.strerror}") from error

    for root, folders, files in os.walk(folder, onerror=unreadable):
        folders.sort()
        yield from (Path(root, file) for file in sorted(files) if Path(file).suffix.lower() in SUFFIXES)


def _lines(path: str) -> list[str]:
    try:
        text = sys.stdin.read() if path == STDIN else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "this is not a text file"
        raise SourceError(f"{path}: {reason}") from error
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]
