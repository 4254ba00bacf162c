"""The images that a person names: files, folders, URLs, and lists of them."""

from __future__ import annotations

import codecs
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from birds_client import Image, Photo

from frontend.i18n.messages import message
from tools.errors import UsageError

STDIN = "-"
SUFFIXES = {
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff"),
    ".webp",
}  # of the files that are taken from a folder
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)  # the service says what is wrong with another scheme
_APPLE_DOUBLE = "._"  # macOS keeps attributes of photo.jpg in ._photo.jpg on other file systems
_OPEN_DESCRIPTORS = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")  # what a shell makes of <(command)
_STDIN_NAMES = {STDIN, "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"}
_SUFFIXES_SHOWN = 4


class SourceError(UsageError):
    """A list cannot be read; the text says which and why."""


@dataclass
class Inputs:
    """The images in the order in which they were named, and the number of other files in folders, by suffix."""

    images: list[Image] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def skipped_note(self, language: str) -> str:
        """Such as `3 files skipped (.cr2, .txt)`; empty if there are none."""
        if not self.skipped:
            return ""
        kinds = [kind for kind, _ in self.skipped.most_common(_SUFFIXES_SHOWN)]
        more = ", …" if len(self.skipped) > _SUFFIXES_SHOWN else ""
        note = message("cli", "skipped", language, count=self.skipped.total())
        return f"{note} ({', '.join(kinds)}{more})"


def find_images(names: Iterable[str], lists: Iterable[str]) -> Inputs:
    """Find every distinct image. A name is a file, a folder, a URL, or `-` for an image on standard input.

    `lists` are files with one such name per line, or `-` for standard input. Blank lines and lines that start with #
    are ignored. Standard input is read once, however often it is named. Raises SourceError for a list that cannot be
    read. A file or folder that cannot be read counts as an image, which fails later.
    """
    found = Inputs()
    names, lists = _without_duplicates(names), _without_duplicates(lists)
    if any(map(_is_stdin, names)) and any(map(_is_stdin, lists)):
        raise SourceError("standard input can be an image or a list of images, not both")
    entries = [line for path in lists for line in read_list(path)]
    if any(map(_is_stdin, entries)) and any(map(_is_stdin, lists)):
        raise SourceError("a list on standard input cannot name an image on standard input")
    images = (image for name in _without_duplicates([*names, *entries]) for image in _expand(name, found.skipped))
    found.images = list(dict.fromkeys(images))
    return found


def name_of(image: Image) -> str:
    """The name of an image in the results: its URL, its path, or `-`."""
    return image.name if isinstance(image, Photo) else str(image)


def _without_duplicates(names: Iterable[str]) -> list[str]:
    """Return the distinct names in their order. All names of standard input count as one."""
    distinct: dict[str, str] = {}
    for name in names:
        distinct.setdefault(STDIN if _is_stdin(name) else name, name)
    return list(distinct.values())


def _is_stdin(name: str) -> bool:
    return name in _STDIN_NAMES


def _expand(name: str, skipped: Counter[str]) -> Iterator[Image]:
    if name == STDIN:
        yield Photo(STDIN, sys.stdin.buffer.read())
    elif _URL.match(name):
        yield name
    elif name.startswith(_OPEN_DESCRIPTORS):
        yield Photo(name, Path(name).read_bytes())
    elif Path(name).is_dir():
        yield from _in_folder(Path(name), skipped)
    else:
        yield Path(name)


def _in_folder(folder: Path, skipped: Counter[str]) -> Iterator[Path]:
    """Yield files with the suffix of an image, also from linked folders. Each folder is read once."""
    unreadable: list[Path] = []
    visited: set[tuple[int, int]] = set()
    for root, folders, files in os.walk(
        folder, followlinks=True, onerror=lambda error: unreadable.append(Path(error.filename))
    ):
        status = os.stat(root)
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders.sort()
        for file in sorted(files):
            if file.startswith(_APPLE_DOUBLE):
                skipped[f"{_APPLE_DOUBLE}*"] += 1
            elif Path(file).suffix.lower() in SUFFIXES:
                yield Path(root, file)
            else:
                skipped[Path(file).suffix or file] += 1
    yield from unreadable  # each becomes one failure


def read_list(path: str) -> list[str]:
    """Return the entries of a list (`-`: standard input), without quotes, blank lines and comments.

    Raises SourceError.
    """
    try:
        content = sys.stdin.buffer.read() if path == STDIN else Path(path).read_bytes()
        lines = (_unquote(line.strip()) for line in _decode(content).splitlines())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "this is not a text file"
        raise SourceError(f"{path}: {reason}") from error
    return [line for line in lines if line and not line.startswith("#")]


def _decode(content: bytes) -> str:
    """UTF-8, or the UTF-16 that Windows PowerShell writes; both with or without a byte order mark."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    return content.decode("utf-8-sig")


def _unquote(line: str) -> str:
    if len(line) >= 2 and line[0] == line[-1] and line[0] in "\"'":
        return line[1:-1]
    return line
