"""The images of a soak: the files of the image host by path, and the expected outcome of each."""

from __future__ import annotations

import functools
import io

from tools.measure.photos import load_photos, numbered_photo

PHOTOS = 24
BIG = 3
BIG_SIZE = (4000, 3000)
SLOW_SECONDS = 1.5
# Paths with the codes that they must fail with. The last one takes longer than a download may.
BAD = {
    "/text": "not_an_image",
    "/cut.jpg": "not_an_image",
    "/missing": "download_failed",
    "/empty": "not_an_image",
    "/never.jpg": "download_timeout",
}
BAD_URLS = {"http://10.255.255.1/bird.jpg": "forbidden_url", "ftp://example.org/bird.jpg": "invalid_url"}


@functools.cache
def files() -> dict[str, bytes]:
    """Every file by path. /slow/… are served slowly."""
    photos = load_photos()
    good = {f"/photo/{number}.jpg": numbered_photo(photos, number) for number in range(PHOTOS)}
    slow = {f"/slow/{number}.jpg": numbered_photo(photos, number) for number in range(4)}
    big = {f"/big/{number}.jpg": _enlarged(photos[number]) for number in range(BIG)}
    return {**good, **slow, **big, "/text": b"no image at all", "/cut.jpg": photos[0][:2000], "/empty": b""}


def good_paths() -> list[str]:
    """The paths of complete images."""
    return [path for path in files() if path not in BAD]


def _enlarged(photo: bytes) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.open(io.BytesIO(photo)).convert("RGB").resize(BIG_SIZE).save(file, "JPEG", quality=80)
    return file.getvalue()
