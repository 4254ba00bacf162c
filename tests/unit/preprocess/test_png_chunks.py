"""What is read of a PNG file: the picture; damaged or oversized metadata is dropped."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from bird_pixels import ImageRejected, PixelFormat, decode, open_if_cheap
from PIL import Image

from tests.support.images import BLUE, RED, encoded, flat, png_chunk

WANTED = PixelFormat(width=24, height=16, max_pixels=1_000_000, max_bytes=20_000_000)
HEADER, REST = flat(RED)[:33], flat(RED)[33:]


def damaged_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + b"\1\2\3\4"


@pytest.mark.parametrize(
    "kind", [b"iCCP", b"pHYs", b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"gAMA", b"acTL", b"tRNS", b"cICP"]
)
def test_skips_metadata_with_a_wrong_checksum(kind: bytes) -> None:
    assert decode(HEADER + damaged_chunk(kind, b"anything") + REST, WANTED)[0, 0].tolist() == list(RED)


@pytest.mark.parametrize(
    "kind", [b"iCCP", b"pHYs", b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"gAMA", b"acTL", b"fcTL", b"cICP"]
)
@pytest.mark.parametrize("content", [b"", b"x", b"a\0\0" + zlib.compress(bytes(10**7)), bytes(100)])
def test_skips_metadata_of_any_content(kind: bytes, content: bytes) -> None:
    assert decode(HEADER + png_chunk(kind, content) + REST, WANTED)[0, 0].tolist() == list(RED)


def test_refuses_a_wrong_checksum_in_the_header() -> None:
    with pytest.raises(ImageRejected, match=r"^not_an_image: "):
        decode(HEADER[:-1] + b"\0" + REST, WANTED)


def test_accepts_a_file_without_its_last_chunk() -> None:
    assert decode((HEADER + REST)[:-12], WANTED)[0, 0].tolist() == list(RED)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_pixels_equal_those_that_pillow_reads(mode: str) -> None:
    noise = Image.fromarray(np.random.default_rng(2).integers(0, 256, (16, 24, 3), dtype=np.uint8))
    image = noise.convert("I").convert("I;16") if mode == "I;16" else noise.convert(mode)
    expected = np.asarray(image.convert("RGB")) if mode in ("1", "L", "P", "RGB") else None
    actual = decode(encoded(image), WANTED)
    assert expected is None or np.array_equal(actual, expected)


def test_one_long_row_is_not_cheap() -> None:
    """The decoder keeps two rows as they are stored: 8 bytes for each pixel of 16-bit RGBA."""
    header = bytearray(flat(RED)[:33])
    header[16:29] = struct.pack(">IIBBBBB", 10_000_000, 1, 16, 6, 0, 0, 0)
    header[29:33] = struct.pack(">I", zlib.crc32(header[12:29]))
    assert open_if_cheap(bytes(header) + REST, PixelFormat(24, 16, 50_000_000, 10**7)) is None


def test_interlaced_and_large_files_are_not_cheap() -> None:
    interlaced = bytearray(HEADER + REST)
    interlaced[28] = 1
    interlaced[29:33] = struct.pack(">I", zlib.crc32(interlaced[12:29]))
    assert open_if_cheap(bytes(interlaced), WANTED) is None
    assert open_if_cheap(flat(BLUE), WANTED) is not None
    assert open_if_cheap(flat(BLUE, "PNG", (5000, 5000)), PixelFormat(24, 16, 50_000_000, 10**7)) is None
