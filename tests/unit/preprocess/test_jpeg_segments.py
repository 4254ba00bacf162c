"""What is read of a JPEG file: the picture up to its end marker, and nothing from its metadata but what is needed."""

from __future__ import annotations

import struct
import time

import numpy as np
import pytest
from bird_pixels import ImageRejected, PixelFormat, decode
from jpeg_segments import read_jpeg
from PIL import Image

from tests.support.images import BLUE, GREEN, RED, encoded, flat, halves, jpeg_segment

WANTED = PixelFormat(width=24, height=16, max_pixels=50_000_000, max_bytes=20_000_000)
RED_JPEG = flat(RED, "JPEG", (64, 48))
NOISE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (400, 400, 3), dtype=np.uint8))


def with_segment(marker: int, content: bytes, jpeg: bytes = RED_JPEG) -> bytes:
    return jpeg[:2] + jpeg_segment(marker, content) + jpeg[2:]


def is_red(data: bytes) -> bool:
    return bool(np.abs(decode(data, WANTED).astype(int) - RED).max() <= 6)


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(bytes(range(256)) * 20_000, id="video of a motion photo"),
        pytest.param(b"\xff\xda" * 1000, id="bytes that look like scans"),
        pytest.param(b"\0\0\0\x18ftypmp42" + b"\xff\xd8\xff\xda\xff\xd9" * 100, id="MP4"),
        pytest.param(flat(BLUE, "JPEG", (640, 480), progressive=True) * 30, id="more pictures"),
        pytest.param(b"\xff\xff\xff\xff\0", id="padding"),
    ],
)
def test_picture_ends_at_its_end_marker(tail: bytes) -> None:
    assert is_red(RED_JPEG + tail)


def test_thumbnails_in_metadata_are_not_counted_as_scans() -> None:
    thumbnails = b"".join(jpeg_segment(0xE3, b"\xff\xda" * 30 + flat(BLUE, "JPEG", (16, 16))) for _ in range(40))
    assert is_red(RED_JPEG[:2] + thumbnails + RED_JPEG[2:])


def test_second_picture_of_an_index_is_ignored() -> None:
    """A multi-picture file (MPO) has its index in an APP2 segment and the other pictures behind the first."""
    frames = [Image.new("RGB", (64, 48), colour) for colour in (RED, BLUE)]
    assert is_red(encoded(frames[0], "MPO", save_all=True, append_images=frames[1:]))


def test_reads_orientation_from_exif_with_millions_of_numbers() -> None:
    """Pillow read such a block for 8.6 s and took 448 MB."""
    entries = struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<HHII", 0x9999, 3, 2_400_000, 40)
    block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + bytes(4)
    data = with_segment(0xE1, block + bytes(65_000 - len(block)))
    for _ in range(75):
        data = data[:2] + jpeg_segment(0xE1, b"Exif\0\0" + bytes(65_000)) + data[2:]
    before = time.process_time()
    with_orientation_first = with_segment(0xE1, block, data)
    assert read_jpeg(with_orientation_first).orientation == 6
    assert is_red(with_orientation_first)
    assert time.process_time() - before < 0.5


@pytest.mark.parametrize("lost", [2, 1, 30, 200])
def test_accepts_jpeg_whose_end_is_missing(lost: int) -> None:
    data = encoded(NOISE, "JPEG")
    expected, actual = (decode(part, WANTED).astype(int) for part in (data, data[:-lost]))
    assert np.abs(expected - actual).max() < 40
    assert np.abs(expected - actual).mean() < 2


def test_accepts_jpeg_with_nine_tenths_of_its_rows() -> None:
    data = encoded(NOISE, "JPEG")
    assert decode(data[: len(data) * 95 // 100], WANTED).mean() == pytest.approx(decode(data, WANTED).mean(), abs=3)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.85])
def test_refuses_jpeg_with_fewer_rows(kept: float) -> None:
    data = encoded(NOISE, "JPEG")
    with pytest.raises(ImageRejected, match=r"^not_an_image: "):
        decode(data[: int(len(data) * kept)], WANTED)


def test_accepts_progressive_jpeg_that_lacks_only_details() -> None:
    data = encoded(NOISE, "JPEG", progressive=True)
    last_scan = data.rindex(b"\xff\xda")
    assert np.abs(decode(data, WANTED).astype(int) - decode(data[: last_scan + 40], WANTED)).mean() < 3


def test_refuses_progressive_jpeg_that_lacks_coefficients() -> None:
    data = encoded(NOISE, "JPEG", progressive=True)
    second_scan = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    with pytest.raises(ImageRejected, match=r"^not_an_image: "):
        decode(data[: second_scan + 100], WANTED)


@pytest.mark.parametrize(
    ("marker", "precision", "name"),
    [
        pytest.param(0xC1, 12, "12-bit JPEG", id="12 bits"),
        pytest.param(0xC3, 8, "lossless JPEG", id="lossless"),
        pytest.param(0xC3, 16, "lossless JPEG", id="lossless of 16 bits"),
        pytest.param(0xCB, 8, "lossless JPEG", id="lossless arithmetic"),
        pytest.param(0xC5, 8, "hierarchical JPEG", id="hierarchical"),
        pytest.param(0xF7, 8, "JPEG-LS", id="JPEG-LS"),
    ],
)
def test_names_the_refused_kind_of_jpeg(marker: int, precision: int, name: str) -> None:
    data = bytearray(RED_JPEG)
    frame = data.index(b"\xff\xc0")
    data[frame + 1], data[frame + 4] = marker, precision
    with pytest.raises(ImageRejected, match=rf"^unsupported_format: {name} "):
        decode(bytes(data), WANTED)


def test_keeps_the_colours_that_its_markers_decide() -> None:
    """The Adobe marker tells RGB from YCbCr, so it must reach the decoder."""
    data = encoded(Image.new("RGB", (32, 32), GREEN), "JPEG", keep_rgb=True, quality=95)
    assert b"Adobe" in data or b"JFIF" not in data
    assert np.abs(decode(data, WANTED).astype(int) - GREEN).max() <= 6


@pytest.mark.parametrize("size", [(64, 48), (3000, 2000)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"quality": 5}])
def test_pixels_equal_those_of_the_whole_file(options: dict[str, object], size: tuple[int, int]) -> None:
    """Removing metadata changes no pixel."""
    data = encoded(halves(RED, BLUE, size), "JPEG", exif=Image.Exif(), comment=b"x" * 1000, **options)
    picture = read_jpeg(data).picture
    assert len(picture) < len(data) - 1000
    assert np.array_equal(decode(picture, WANTED), decode(data, WANTED))
