"""Small valid files of every accepted format, and the mutations that damage them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from bird_pixels import FORMATS
from PIL import Image

from tests.support import heif_files
from tests.support.images import encoded

_MODES = {
    "JPEG": ("L", "RGB", "CMYK"),
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("L", "P"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "AVIF": ("RGB", "RGBA"),
    "HEIF": ("L", "RGB", "RGBA"),
    "TIFF": ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16"),
}
_VARIANTS: dict[str, list[dict[str, Any]]] = {
    "JPEG": [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 1}],
    "PNG": [{}, {"compress_level": 0}],
    "WEBP": [{}, {"lossless": True}],
    "TIFF": [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}, {"compression": "packbits"}],
}


def seed_files() -> list[bytes]:
    """About 80 files: every format in each of its modes, with EXIF, and animated where the format allows it."""
    noise = np.random.default_rng(3).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = []
    for kind in FORMATS:
        for mode in _MODES[kind]:
            image = picture.convert("I").convert("I;16") if mode == "I;16" else picture.convert(mode)
            files += [encoded(image, kind, **options) for options in _VARIANTS.get(kind, [{}])]
        if kind in ("JPEG", "PNG", "WEBP", "AVIF", "HEIF"):
            files.append(encoded(picture, kind, exif=exif))
        if kind in ("PNG", "GIF", "WEBP", "AVIF"):
            files.append(encoded(picture, kind, save_all=True, append_images=[picture.rotate(90), picture.rotate(180)]))
    for brand, codec in ((b"avif", b"av01"), (b"heic", b"hvc1")):
        tile, transparency = heif_files.picture(codec, 64), heif_files.picture(codec, 64, transparency_of=1)
        tiles = heif_files.grid(2, 2, (100, 90), (100, 90), [2, 3, 4, 5])
        files += [heif_files.heif_file(brand, items) for items in ([tiles, *[tile] * 4], [tile, transparency])]
    return files


def mutated(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Apply one to eight random kinds of damage to `data`."""
    for _ in range(chance.randint(1, 8)):
        data = chance.choice(_DAMAGES)(data, others, chance) or b"\0"
    return data


def _overwrite(data: bytes, _: list[bytes], chance: random.Random) -> bytes:
    offset = chance.randrange(len(data)) if chance.random() < 0.5 else chance.randrange(min(len(data), 64))
    value = chance.choice([b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\0\0\0\0", chance.randbytes(2)])
    return data[:offset] + value + data[offset + len(value) :]


def _flip_bit(data: bytes, _: list[bytes], chance: random.Random) -> bytes:
    offset = chance.randrange(len(data))
    return data[:offset] + bytes([data[offset] ^ 1 << chance.randrange(8)]) + data[offset + 1 :]


def _cut_short(data: bytes, _: list[bytes], chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _remove(data: bytes, _: list[bytes], chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.randint(1, 64) :]


def _repeat(data: bytes, _: list[bytes], chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    part = data[start : start + chance.randint(1, 64)]
    return data[:start] + part * chance.randint(2, 20) + data[start:]


def _splice(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    other = chance.choice(others)
    return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other)) :]


_DAMAGES: list[Callable[[bytes, list[bytes], random.Random], bytes]] = [
    *(_overwrite, _overwrite, _flip_bit, _flip_bit, _cut_short, _remove, _repeat, _splice)
]
