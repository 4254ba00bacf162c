"""The images of a soak by path, and the expected outcome of each."""

from __future__ import annotations

import functools
from pathlib import Path

from tools.measure.photos import CAMERA, load_photos, numbered_photo, photos_of
from tools.measure.soak.image_host import NEVER

_PHOTOS = 24
_SLOW = 4
_BIG = 3
# Paths with the codes that they must fail with. The last one takes longer than a download may.
BAD = {
    "/text": "not_an_image",
    "/cut.jpg": "not_an_image",
    "/missing": "download_failed",
    "/empty": "not_an_image",
    NEVER: "download_timeout",
}
BAD_URLS = {"http://10.255.255.1/bird.jpg": "forbidden_url", "ftp://example.org/bird.jpg": "invalid_url"}


@functools.cache
def files() -> dict[str, bytes]:
    """Every file by path. The image host sends /slow/… slowly."""
    photos = load_photos()
    good = {f"/photo/{number}.jpg": numbered_photo(photos, number) for number in range(_PHOTOS)}
    slow = {f"/slow/{number}.jpg": numbered_photo(photos, number) for number in range(_SLOW)}
    big = {f"/big/{number}.jpg": photo for number, photo in enumerate(photos_of(CAMERA)[:_BIG])}
    return {**good, **slow, **big, "/text": b"no image at all", "/cut.jpg": photos[0][:2000], "/empty": b""}


def write_files(folder: Path) -> None:
    """Write every file below `folder`."""
    for path, content in files().items():
        file = folder / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def good_paths() -> list[str]:
    """The paths of complete images."""
    return [path for path in files() if path not in BAD]
