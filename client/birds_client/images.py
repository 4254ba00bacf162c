"""The images that a caller passes in, and the requests that they are grouped into."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

_URLS_PER_REQUEST = 32
_FILES_PER_REQUEST = 16
_BYTES_PER_REQUEST = 8 << 20  # a slow connection can send this much before the service's deadline


@dataclass(frozen=True)
class Photo:
    """An image file that is already in memory, with a name to recognise it by."""

    name: str
    content: bytes = field(repr=False)


# A str is a URL, a Path is a file, and bytes or a Photo hold the content of an image file.
Image = str | Path | bytes | Photo


def as_iterable(images: Image | Iterable[Image]) -> Iterable[Image]:
    """Several images as they are, a single one in a list."""
    return [images] if isinstance(images, (str, Path, bytes, Photo)) else images


def batches(images: Iterable[Image]) -> Iterator[list[Image]]:
    """Group images that can share a request; leave out a URL or a file that was named before.

    Raises TypeError for anything that is not an Image.
    """
    seen: set[Image] = set()
    batch: list[Image] = []
    batch_bytes = 0
    for image in images:
        if image in seen:
            continue
        # The contents of files are not remembered: an endless supply would fill the memory.
        if isinstance(image, (str, Path)):
            seen.add(image)
        image_bytes, is_url = _size(image), isinstance(image, str)
        limit = _URLS_PER_REQUEST if is_url else _FILES_PER_REQUEST
        is_full = len(batch) >= limit or batch_bytes + image_bytes > _BYTES_PER_REQUEST
        if batch and (is_full or isinstance(batch[0], str) is not is_url):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(image)
        batch_bytes += image_bytes
    if batch:
        yield batch


def _size(image: Image) -> int:
    """The number of bytes that the request will hold for this image."""
    if isinstance(image, str):
        return 0
    if isinstance(image, bytes):
        return len(image)
    if isinstance(image, Photo):
        return len(image.content)
    if not isinstance(image, Path):
        raise TypeError(f"an image is a URL (str), a Path, bytes or a Photo, not {type(image).__name__}")
    try:
        return image.stat().st_size
    except OSError:
        return 0  # opening it will fail, and that is reported


def request_for(
    waiting: dict[str, Image], options: dict[str, Any], opened: ExitStack
) -> tuple[dict[str, Any], dict[str, OSError]]:
    """Return httpx's arguments for a batch, and the files that cannot be opened, by name."""
    files, unreadable = [], {}
    for name, image in waiting.items():
        if isinstance(image, str):
            return {"url": "/", "json": {"images": list(waiting), **options}}, {}
        try:
            content = opened.enter_context(open_file(image)) if isinstance(image, Path) else _content(image)
        except OSError as error:
            unreadable[name] = error
        else:
            files.append(("files", (name, content, "application/octet-stream")))
    return {"url": "/files", "params": options, "files": files}, unreadable


def open_file(path: Path) -> BinaryIO:
    """Open an image file. Raises OSError, also for a FIFO or a device, which could make a reader wait for ever."""
    no_wait = getattr(os, "O_NONBLOCK", 0)  # Windows has none, and no FIFO in its folders
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | no_wait))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "Not a regular file")
    return file


def _content(image: bytes | Photo) -> bytes:
    return image if isinstance(image, bytes) else image.content
