"""Files made to exhaust memory, time or patience: refused with a code, at once, without a word on stderr."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from bird_pixels import ImageRejected, PixelFormat, decode
from PIL import Image

from tests.support.images import BLUE, RED, encoded, flat, png_chunk

WANTED = PixelFormat(width=24, height=16, max_pixels=50_000_000, max_bytes=20_000_000)
SIDE = 65_535


def claiming(side: int, kind: str) -> bytes:
    """A small file whose header says that it is `side` × `side` pixels."""
    data = bytearray(flat(RED, kind, (16, 16)))
    if kind == "PNG":
        data[16:24] = struct.pack(">II", side, side)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif kind == "JPEG":
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", side, side)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", side, side)
    elif kind == "TIFF":
        directory = struct.unpack_from("<I", data, 4)[0]
        for entry in range(directory + 2, directory + 2 + 12 * struct.unpack_from("<H", data, directory)[0], 12):
            if struct.unpack_from("<H", data, entry)[0] in (256, 257):
                data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, side)
    elif kind == "AVIF":
        extent = data.index(b"ispe") + 8
        data[extent : extent + 8] = struct.pack(">II", side, side)
    return bytes(data)


def webp_claiming(side: int) -> bytes:
    """An extended WebP: the canvas has the claimed size, the frame in it has not."""
    simple = flat(RED, "WEBP", (16, 16))
    size = (side - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x00\x00\x00\x00" + size + size + simple[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif_with_a_huge_frame() -> bytes:
    """One pixel of screen, a first frame of 65,535², and the order to clear it afterwards: its buffer is made early."""
    control = b"\x21\xf9\x04\x08\x00\x00\x00\x00"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, SIDE, SIDE, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + control + frame + control + frame + b";"


BOMBS: dict[str, Callable[[], bytes]] = {
    **{
        f"{kind} header of 65,535²": partial(claiming, SIDE, kind)
        for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "AVIF")
    },
    "WebP canvas of 16,384²": lambda: webp_claiming(16_384),
    "GIF frame of 65,535²": gif_with_a_huge_frame,
    "PNG of 50 MP and a column": lambda: flat(RED, "PNG", (5001, 10_000)),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_refuses_too_many_pixels_before_any_is_decoded(bomb: str) -> None:
    with pytest.raises(ImageRejected, match=r"^too_many_pixels: |^not_an_image: ") as refused:
        decode(BOMBS[bomb](), WANTED)
    if "AVIF" not in bomb:  # libavif itself refuses a header that its frame contradicts
        assert refused.value.code == "too_many_pixels"


def test_refuses_a_file_over_the_size_limit_unread() -> None:
    small = PixelFormat(24, 16, 50_000_000, max_bytes=1000)
    with pytest.raises(ImageRejected, match=r"^too_large: the file has more than 1000 bytes$"):
        decode(bytes(1001), small)


def test_refuses_a_jpeg_of_many_scans() -> None:
    """Each of these 75 bytes would cost another pass over the whole image: 300 kB took 10 s."""
    data = flat(RED, "JPEG", (2000, 2000), progressive=True)
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(ImageRejected, match=r"^unsupported_format: a JPEG with more than 64 scans"):
        decode(data[:-2] + 100 * last_scan + data[-2:], WANTED)


def jpeg_segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


SHREDDED: dict[str, Callable[[], bytes]] = {
    "GIF of tiny comments": lambda: flat(RED, "GIF")[:13] + b"\x21\xfe\x01a\x00" * 40_000,
    "JPEG of empty comments": lambda: b"\xff\xd8" + jpeg_segment(0xFE, b"") * 40_000 + flat(RED, "JPEG")[2:],
    "JPEG of tiny EXIF blocks": lambda: b"\xff\xd8" + jpeg_segment(0xE1, b"Exif\0\0a") * 40_000 + flat(RED, "JPEG")[2:],
    "JPEG of fill bytes": lambda: b"\xff\xd8" + b"\xff" * 100_000 + flat(RED, "JPEG")[2:],
    "PNG of empty chunks": lambda: flat(RED)[:33] + png_chunk(b"teSt", b"") * 40_000 + flat(RED)[33:],
    "PNG of empty image data": lambda: flat(RED)[:33] + png_chunk(b"IDAT", b"") * 40_000 + flat(RED)[33:],
}


@pytest.mark.parametrize("file", SHREDDED)
def test_refuses_a_file_in_too_many_pieces(file: str) -> None:
    with pytest.raises(ImageRejected, match=r"^not_an_image: the file is cut into too many pieces"):
        decode(SHREDDED[file](), WANTED)


def test_refuses_compressed_notes_that_inflate_without_end() -> None:
    text = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000), 9))
    profile = png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(100_000_000), 9))
    for notes in (text * 100, profile):
        with pytest.raises(ImageRejected, match=r"^not_an_image: "):
            decode(flat(RED)[:33] + notes + flat(RED)[33:], WANTED)


def test_image_data_that_inflates_beyond_the_picture_is_left_alone() -> None:
    data = flat(RED, "PNG", (16, 16))
    start = data.index(b"IDAT") - 4
    bomb = zlib.compress(bytes(200_000_000), 9)
    assert decode(data[:start] + png_chunk(b"IDAT", bomb) + png_chunk(b"IEND", b""), WANTED).max() == 0


def test_shows_the_first_of_many_frames() -> None:
    frames = [Image.new("RGB", (20, 20), BLUE) for _ in range(300)]
    for index, frame in enumerate(frames):
        frame.putpixel((index % 20, index // 20), RED)  # equal frames would be merged
    for kind in ("GIF", "WEBP", "PNG", "AVIF"):
        options = {"speed": 10} if kind == "AVIF" else {}
        data = encoded(Image.new("RGB", (20, 20), RED), kind, save_all=True, append_images=frames, **options)
        assert np.abs(decode(data, WANTED).mean(axis=(0, 1)) - RED).max() < 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_a_polyglot_is_the_picture_that_it_starts_with(kind: str) -> None:
    """Whatever else the file is, to an archiver or a browser, nothing but pixels comes out."""
    for tail in (b"PK\x05\x06" + bytes(18), b"<script>alert(1)</script>", b"%PDF-1.7\n", flat(BLUE, "PNG")):
        pixels = decode(flat(RED, kind) + tail, WANTED)
        assert np.abs(pixels.astype(int) - RED).max() <= 6


def test_damaged_exif_leaves_the_picture_as_it_is() -> None:
    for exif in (b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"x" * 50):
        data = b"\xff\xd8" + jpeg_segment(0xE1, exif) + flat(RED, "JPEG")[2:]
        assert np.abs(decode(data, WANTED).astype(int) - RED).max() <= 6


@pytest.mark.parametrize("kind", range(14))
@pytest.mark.parametrize("count", [0, 1, 2, 0x7FFFFFFF])
def test_an_orientation_of_any_type_is_survived(kind: int, count: int) -> None:
    entry = struct.pack("<HHHII", 1, 0x0112, kind, count, 0x00060006)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + entry + bytes(40)
    data = b"\xff\xd8" + jpeg_segment(0xE1, exif) + flat(RED, "JPEG")[2:]
    assert np.abs(decode(data, WANTED).astype(int) - RED).max() <= 6


def test_damaged_tiffs_do_not_reach_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (50, 50, 3), dtype=np.uint8))
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma"):
        data = encoded(noise, "TIFF", compression=compression)
        for offset in range(8, len(data) - 300, 97):
            try:
                decode(data[:offset] + b"\xff" * 200 + data[offset + 200 :], WANTED)
            except ImageRejected:
                pass
    assert capfd.readouterr() == ("", "")


def test_nothing_reaches_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    files = [flat(RED, kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF")]
    for data in [bomb() for bomb in BOMBS.values()] + files:
        for damaged in (data, data[: len(data) // 2], data[:60] + b"\xff" * 40 + data[100:], data[:-9]):
            try:
                decode(damaged, WANTED)
            except ImageRejected:
                pass
    assert capfd.readouterr() == ("", "")
