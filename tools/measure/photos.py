"""Photos to measure with, in an endless supply of variants: small ones, and others as large as cameras take them.

The small ones come from BIRDS_TEST_PHOTOS, or are generated. The large ones are made from them.
"""

from __future__ import annotations

import functools
import io
import os
from pathlib import Path

PHOTO, CAMERA = PHOTOS = ("photo", "camera")
_GENERATED = 48
_GENERATED_SIZE = (500, 375)  # width, height: as photos on web pages have
_JPEG_QUALITY = 92  # with the noise below, files of about 100 kB
_CAMERA_PHOTOS = 4
_CAMERA_SIZE = (4000, 3000)  # 12 megapixels
_CAMERA_QUALITY = 90
_DETAIL = 3.3  # standard deviation of the brightness that is added: files of 2.4 MB, as phones write them
_DEFINE_QUANTIZATION_TABLE = 0xDB  # a JPEG marker
_VARIED_ENTRIES = range(1, 21)  # of the table's 64, the lowest frequencies: they survive the resizing


def photo_folders() -> list[Path]:
    """The folders in BIRDS_TEST_PHOTOS, none if it is not set."""
    return [Path(folder) for folder in os.environ.get("BIRDS_TEST_PHOTOS", "").split(os.pathsep) if folder]


def load_photos() -> list[bytes]:
    """Small JPEG files, the same ones in the same order every time. Raises OSError for a folder that cannot be read."""
    paths = sorted(path for folder in photo_folders() for path in folder.iterdir() if path.suffix == ".jpg")
    return [path.read_bytes() for path in paths] or [_generate(seed) for seed in range(_GENERATED)]


@functools.cache
def photos_of(kind: str) -> list[bytes]:
    """The JPEG files of one of the PHOTOS: small ones, or photos of 12 megapixels that are made from them."""
    small = load_photos()
    return small if kind == PHOTO else [_as_camera_photo(photo) for photo in small[:_CAMERA_PHOTOS]]


def numbered_photo(photos: list[bytes], number: int) -> bytes:
    """Photo `number` of an endless supply: first the photos themselves, then variants of them, all different."""
    return _variant(photos[number % len(photos)], number // len(photos))


def _variant(photo: bytes, number: int) -> bytes:
    """A different picture that costs the same to decode.

    Each bit of `number` makes one step of the quantization table larger by one. The decoder does the same work but gets
    other pixels, so no cache takes the variant for the original.
    """
    table = _quantization_table(photo)
    changed = bytearray(photo)
    for bit, entry in enumerate(_VARIED_ENTRIES):
        if number >> bit & 1 and changed[table + entry] < 255:
            changed[table + entry] += 1
    return bytes(changed)


def _quantization_table(photo: bytes) -> int:
    """The position of the first table's entries. Segments are walked, so as to skip the table of a thumbnail."""
    segment = 2
    while photo[segment + 1] != _DEFINE_QUANTIZATION_TABLE:
        segment += 2 + int.from_bytes(photo[segment + 2 : segment + 4], "big")
    return segment + 5  # marker, length, and one byte about the table


def _as_camera_photo(photo: bytes) -> bytes:
    """Enlarge a photo, add the fine detail that it lacks at that size, and save it as cameras do: JPEG with 4:2:0."""
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(photo)) as small:
        large = np.asarray(small.convert("RGB").resize(_CAMERA_SIZE, Image.Resampling.BICUBIC), np.int16)
    tile = np.random.default_rng(len(photo)).normal(0, _DETAIL, (500, 500, 1)).round().astype(np.int16)
    detail = np.tile(tile, (_CAMERA_SIZE[1] // 500, _CAMERA_SIZE[0] // 500, 1))
    file = io.BytesIO()
    pixels = (large + detail).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", quality=_CAMERA_QUALITY, subsampling="4:2:0")
    return file.getvalue()


def _generate(seed: int) -> bytes:
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    shapes = np.asarray(coarse.resize(_GENERATED_SIZE, Image.Resampling.BICUBIC), np.int16)
    noisy = shapes + random.normal(0, 12, shapes.shape)
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()
