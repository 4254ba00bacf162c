"""What is classified and what comes of it, and how many images share a request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frontend.api.schemas import FILES_FIELD, PredictionBody, ReasonBody

_URLS_PER_REQUEST = 32
_FILES_PER_REQUEST = 16
_BYTES_PER_REQUEST = 8 << 20  # so that a slow line is in time for the service's deadline


@dataclass(frozen=True)
class Photo:
    """An image that is already in memory."""

    name: str
    content: bytes


Image = str | Path | Photo  # a str is a URL, a Path a file


@dataclass(frozen=True)
class Result:
    """What became of one image: `predictions`, best first, or a `failure` with its code and sentence."""

    image: Image
    predictions: list[PredictionBody]
    failure: ReasonBody | None = None
    model_version: str | None = None


def batches(images: Iterable[Image]) -> Iterator[list[Image]]:
    """Images that can share a request, each distinct one once."""
    seen: set[Image] = set()
    batch: list[Image] = []
    batch_bytes = 0
    for image in images:
        if image in seen:
            continue
        seen.add(image)
        image_bytes, is_url = _size(image), isinstance(image, str)
        most = _URLS_PER_REQUEST if is_url else _FILES_PER_REQUEST
        too_many = len(batch) >= most or batch_bytes + image_bytes > _BYTES_PER_REQUEST
        if batch and (too_many or isinstance(batch[0], str) is not is_url):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(image)
        batch_bytes += image_bytes
    if batch:
        yield batch


def _size(image: Image) -> int:
    if isinstance(image, Photo):
        return len(image.content)
    try:
        return image.stat().st_size if isinstance(image, Path) else 0
    except OSError:
        return 0  # it will fail when it is opened


def request_for(
    waiting: dict[str, Image], options: dict[str, Any], opened: ExitStack
) -> tuple[dict[str, Any], dict[str, OSError]]:
    """The request for a batch, and the files that cannot be opened."""
    files, unreadable = [], {}
    for name, image in waiting.items():
        if isinstance(image, str):
            return {"url": "/", "json": {"images": list(waiting), **options}}, {}
        try:
            content = opened.enter_context(image.open("rb")) if isinstance(image, Path) else image.content
        except OSError as error:
            unreadable[name] = error
        else:
            files.append((FILES_FIELD, (name, content, "application/octet-stream")))
    return {"url": "/files", "params": options, "files": files}, unreadable
