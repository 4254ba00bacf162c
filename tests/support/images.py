"""Image files made on the spot: flat colours, in any format, mode and size."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image

RED, GREEN, BLUE, GREY = (220, 20, 20), (20, 220, 20), (20, 20, 220), (128, 128, 128)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The file; `kind` is a format by Pillow's name."""
    file = io.BytesIO()
    if kind == "HEIF":
        if isinstance(options.get("exif"), Image.Exif):
            options["exif"] = options["exif"].tobytes()  # becomes the container's own boxes for rotation
        pillow_heif.from_pillow(image).save(file, **options)  # a plugin of Pillow would take pi_heif's place
    else:
        image.save(file, kind, **options)
    return file.getvalue()


def flat(colour: tuple[int, ...], kind: str = "PNG", size: tuple[int, int] = (40, 30), **options: Any) -> bytes:
    """A file of one colour."""
    mode = {3: "RGB", 4: "RGBA"}[len(colour)]
    return encoded(Image.new(mode, size, colour), kind, **options)


def halves(left: tuple[int, int, int], right: tuple[int, int, int], size: tuple[int, int] = (80, 40)) -> Image.Image:
    """A picture whose left half has one colour and whose right half has another."""
    pixels = np.empty((size[1], size[0], 3), np.uint8)
    pixels[:, : size[0] // 2], pixels[:, size[0] // 2 :] = left, right
    return Image.fromarray(pixels)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def jpeg_segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content
