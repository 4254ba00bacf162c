"""Files built to exhaust memory or time are refused quickly, with a code, and nothing is written to stderr."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from bird_pixels import ImageRejected, PixelFormat, decode
from PIL import Image

from tests.support.hostile_images import BOMBS, SHREDDED, webp_claiming
from tests.support.images import BLUE, RED, encoded, flat, jpeg_segment, png_chunk

WANTED = PixelFormat(width=24, height=16, max_pixels=50_000_000, max_bytes=20_000_000)


@pytest.mark.parametrize("bomb", BOMBS)
def test_refuses_too_many_pixels_before_decoding(bomb: str) -> None:
    with pytest.raises(ImageRejected, match=r"^too_many_pixels: |^not_an_image: ") as refused:
        decode(BOMBS[bomb](), WANTED)
    if "AVIF" not in bomb:  # libavif itself refuses a header that its frame contradicts
        assert refused.value.code == "too_many_pixels"


def test_refuses_webp_canvas_before_pillow_opens_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest supported Pillow allocates the canvas before it checks its size."""
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(ImageRejected, match=r"^too_many_pixels: "):
        decode(webp_claiming(16_384), WANTED)


def test_refuses_large_file_without_reading_it() -> None:
    small = PixelFormat(24, 16, 50_000_000, max_bytes=1000)
    with pytest.raises(ImageRejected, match=r"^too_large: the file has more than 1000 bytes$"):
        decode(bytes(1001), small)


def test_refuses_jpeg_with_too_many_scans() -> None:
    """Each of these 75 bytes would cost another pass over the whole image: 300 kB took 10 s."""
    data = flat(RED, "JPEG", (2000, 2000), progressive=True)
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(ImageRejected, match=r"^unsupported_format: JPEG with more than 64 scans"):
        decode(data[:-2] + 100 * last_scan + data[-2:], WANTED)


@pytest.mark.parametrize("file", SHREDDED)
def test_refuses_file_in_too_many_pieces(file: str) -> None:
    with pytest.raises(ImageRejected, match=r"^not_an_image: the file is cut into too many pieces"):
        decode(SHREDDED[file](), WANTED)


def test_skips_metadata_that_inflates_without_end() -> None:
    text = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000), 9))
    profile = png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(100_000_000), 9))
    for notes in (text * 100, profile):
        assert decode(flat(RED)[:33] + notes + flat(RED)[33:], WANTED)[0, 0].tolist() == list(RED)


def test_skips_a_long_run_of_fill_bytes() -> None:
    """Reading these one by one took longer than decoding a photo."""
    data = b"\xff\xd8" + b"\xff" * 10_000_000 + flat(RED, "JPEG")[2:]
    assert np.abs(decode(data, WANTED).astype(int) - RED).max() <= 6


def test_ignores_pixel_data_beyond_the_picture() -> None:
    data = flat(RED, "PNG", (16, 16))
    start = data.index(b"IDAT") - 4
    bomb = zlib.compress(bytes(200_000_000), 9)
    assert decode(data[:start] + png_chunk(b"IDAT", bomb) + png_chunk(b"IEND", b""), WANTED).max() == 0


def test_decodes_only_the_first_frame() -> None:
    frames = [Image.new("RGB", (20, 20), BLUE) for _ in range(300)]
    for index, frame in enumerate(frames):
        frame.putpixel((index % 20, index // 20), RED)  # equal frames would be merged
    for kind in ("GIF", "WEBP", "PNG", "AVIF"):
        options = {"speed": 10} if kind == "AVIF" else {}
        data = encoded(Image.new("RGB", (20, 20), RED), kind, save_all=True, append_images=frames, **options)
        assert np.abs(decode(data, WANTED).mean(axis=(0, 1)) - RED).max() < 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_ignores_bytes_after_the_image(kind: str) -> None:
    """Other programs may read the file as an archive or a web page; only pixels come out here."""
    for tail in (b"PK\x05\x06" + bytes(18), b"<script>alert(1)</script>", b"%PDF-1.7\n", flat(BLUE, "PNG")):
        pixels = decode(flat(RED, kind) + tail, WANTED)
        assert np.abs(pixels.astype(int) - RED).max() <= 6


def test_damaged_exif_does_not_change_the_picture() -> None:
    for exif in (b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"x" * 50):
        data = b"\xff\xd8" + jpeg_segment(0xE1, exif) + flat(RED, "JPEG")[2:]
        assert np.abs(decode(data, WANTED).astype(int) - RED).max() <= 6


@pytest.mark.parametrize("kind", range(14))
@pytest.mark.parametrize("count", [0, 1, 2, 0x7FFFFFFF])
def test_any_orientation_value_is_harmless(kind: int, count: int) -> None:
    entry = struct.pack("<HHHII", 1, 0x0112, kind, count, 0x00060006)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + entry + bytes(40)
    data = b"\xff\xd8" + jpeg_segment(0xE1, exif) + flat(RED, "JPEG")[2:]
    assert np.abs(decode(data, WANTED).astype(int) - RED).max() <= 6


def test_damaged_tiffs_write_nothing_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (50, 50, 3), dtype=np.uint8))
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma"):
        data = encoded(noise, "TIFF", compression=compression)
        for offset in range(8, len(data) - 300, 97):
            try:
                decode(data[:offset] + b"\xff" * 200 + data[offset + 200 :], WANTED)
            except ImageRejected:
                pass
    assert capfd.readouterr() == ("", "")


def test_damaged_files_write_nothing_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    files = [flat(RED, kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF")]
    for data in [bomb() for bomb in BOMBS.values()] + files:
        for damaged in (data, data[: len(data) // 2], data[:60] + b"\xff" * 40 + data[100:], data[:-9]):
            try:
                decode(damaged, WANTED)
            except ImageRejected:
                pass
    assert capfd.readouterr() == ("", "")
