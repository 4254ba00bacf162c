"""The header check agrees with Pillow and never refuses an image that `preprocess` would accept."""

from __future__ import annotations

import io
import re
import struct

import bird_pixels
import pytest
import signatures
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from frontend.classify import image_sniff
from frontend.classify.image_sniff import check_image, read_header
from frontend.errors import ImageError, NotAnImage, TooManyPixels, UnsupportedFormat
from frontend.settings import Settings
from tests.support.hostile_images import BOMBS, claiming, gif_with_a_huge_frame, webp_claiming
from tests.support.images import RED, encoded, flat
from tools.models.repository import read_config

FILES = {
    **{kind: flat(RED, kind, (37, 23)) for kind in bird_pixels.FORMATS},
    "progressive JPEG": flat(RED, "JPEG", (37, 23), progressive=True),
    "JPEG with EXIF and a profile": flat(RED, "JPEG", (37, 23), exif=Image.Exif().tobytes(), icc_profile=bytes(99_000)),
    "CMYK JPEG": encoded(Image.new("CMYK", (37, 23)), "JPEG"),
    "lossless WebP": flat(RED, "WEBP", (37, 23), lossless=True),
    "transparent WebP": flat((*RED, 99), "WEBP", (37, 23)),
    "lossless transparent WebP": flat((*RED, 99), "WEBP", (37, 23), lossless=True),
    "transparent AVIF": flat((*RED, 99), "AVIF", (37, 23)),
    "PNG of 16 bits": encoded(Image.new("I;16", (37, 23)), "PNG"),
    "one-bit BMP": encoded(Image.new("1", (37, 23)), "BMP"),
    "animated GIF": encoded(
        Image.new("RGB", (37, 23)), "GIF", save_all=True, append_images=[Image.new("RGB", (37, 23), RED)]
    ),
}


@pytest.mark.parametrize("file", FILES)
def test_reads_kind_and_size_as_pillow_does(file: str) -> None:
    header = read_header(FILES[file])
    with Image.open(io.BytesIO(FILES[file])) as image:
        assert (header.kind, image.size) == (image.format, (37, 23))
    # HEVC pictures are padded; a box of their container crops them.
    assert header.size == ((64, 64) if header.kind == "HEIF" else (37, 23))


def test_recognizes_every_format_that_preprocess_accepts() -> None:
    assert {read_header(flat(RED, kind)).kind for kind in bird_pixels.FORMATS} == set(bird_pixels.FORMATS)


STARTS = [*image_sniff._ACCEPTED, *image_sniff._OTHERS, *signatures._ACCEPTED]
STARTS += [*signatures._OTHERS, b"RIFF1234WEBP", b"RIFF1234WAVE", b"<svg", b"\n <svg"]
BOXES = [*image_sniff._OTHER_BOXES, *signatures._OTHER_BOXES]
BRANDS = sorted(
    image_sniff._AVIF_BRANDS | image_sniff._HEIF_BRANDS | image_sniff._GENERIC_BRANDS
    | signatures._AVIF_BRANDS | signatures._HEIF_BRANDS | signatures._GENERIC_BRANDS | {b"mp42", b"crx "}
)  # fmt: skip


def by_frontend(data: bytes) -> str:
    try:
        return read_header(data).kind
    except ImageError as error:
        return error.code


def by_preprocess(data: bytes) -> str:
    try:
        return signatures.format_of(data)
    except bird_pixels.ImageRejected as error:
        return error.code


@pytest.mark.parametrize("start", sorted({*STARTS, *(b"1234" + box for box in BOXES)}), ids=repr)
def test_frontend_and_preprocess_know_the_same_signatures(start: bytes) -> None:
    assert by_frontend(start + bytes(20)) == by_preprocess(start + bytes(20))


@settings(max_examples=300)
@given(st.integers(0, 64), st.lists(st.sampled_from(BRANDS), min_size=2, max_size=8))
def test_frontend_and_preprocess_know_the_same_brands(size: int, brands: list[bytes]) -> None:
    """The first brand is the major one, the second stands where the minor version is."""
    data = size.to_bytes(4, "big") + b"ftyp" + b"".join(brands)
    assert by_frontend(data) == by_preprocess(data)


def test_frontend_and_preprocess_have_the_same_limits() -> None:
    parameters = read_config("preprocess").parameters
    for name, setting in (("max_pixels", "max_pixels"), ("max_bytes", "download_max_bytes")):
        assert int(parameters[name].string_value) == Settings.model_fields[setting].default


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(b"", NotAnImage, id="nothing"),
        pytest.param(b"\xff", NotAnImage, id="one byte"),
        pytest.param(b"<!doctype html><title>Not found</title>", NotAnImage, id="HTML"),
        pytest.param(b'{"error": "not found"}', NotAnImage, id="JSON"),
        pytest.param(b"%PDF-1.7\n", NotAnImage, id="PDF"),
        pytest.param(b"PK\x03\x04", NotAnImage, id="ZIP"),
        pytest.param(b"\x1f\x8b\x08" + bytes(99), NotAnImage, id="gzip"),
        pytest.param(b"RIFF\x00\x00\x00\x00WAVE", NotAnImage, id="WAV"),
        pytest.param(b"\x00\x00\x00\x18ftypmp42", NotAnImage, id="MP4"),
    ],
)
def test_refuses_other_files(data: bytes, error: type[ImageError]) -> None:
    with pytest.raises(error):
        check_image(data, 50_000_000)


OTHER_FORMATS = {
    "SVG": b"<?xml version='1.0'?><svg/>",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "Photoshop": b"8BPS\0\1",
    "camera raw (CR3)": b"\x00\x00\x00\x18ftypcrx ",
    "camera raw (RAF)": b"FUJIFILMCCD-RAW 0201",
    "camera raw (RW2)": b"IIU\0\x18\0\0\0",
    "camera raw (ORF)": b"IIRO\x08\0\0\0",
    "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n",
    "QOI": b"qoif\0\0\0\1",
    "ICO": flat(RED, "ICO"),
    "PPM": flat(RED, "PPM"),
    "PGM": encoded(Image.new("L", (9, 9)), "PPM"),
    "PBM": encoded(Image.new("1", (9, 9)), "PPM"),
    "JPEG 2000": flat(RED, "JPEG2000"),
}


@pytest.mark.parametrize("name", OTHER_FORMATS)
def test_names_other_formats_as_preprocess_does(name: str) -> None:
    with pytest.raises(UnsupportedFormat) as refused:
        check_image(OTHER_FORMATS[name], 50_000_000)
    assert refused.value.parameters == {"format": name}
    with pytest.raises(bird_pixels.ImageRejected, match=rf"^unsupported_format: {re.escape(name)} is not accepted$"):
        bird_pixels.decode(OTHER_FORMATS[name], bird_pixels.PixelFormat(8, 8, 50_000_000, 1_000_000))


def test_knows_the_same_other_formats_as_preprocess() -> None:
    assert (image_sniff._OTHERS, image_sniff._OTHER_BOXES) == (signatures._OTHERS, signatures._OTHER_BOXES)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "AVIF"])
def test_refuses_too_many_pixels(kind: str) -> None:
    with pytest.raises(TooManyPixels):
        check_image(claiming(65_535, kind), 50_000_000)


def test_refuses_webp_canvas_with_too_many_pixels() -> None:
    with pytest.raises(TooManyPixels):
        check_image(webp_claiming(16_384), 50_000_000)


def test_limit_is_width_times_height() -> None:
    check_image(flat(RED, "PNG", (50, 20)), 1000)
    with pytest.raises(TooManyPixels):
        check_image(flat(RED, "PNG", (50, 20)), 999)


@pytest.mark.parametrize("kind", bird_pixels.FORMATS)
def test_leaves_truncated_headers_to_preprocess(kind: str) -> None:
    data = flat(RED, kind)
    for end in range(12, 200):
        read_header(data[:end])


def test_stops_early_in_a_run_of_fill_bytes() -> None:
    assert read_header(b"\xff\xd8" + b"\xff" * 20_000_000).size is None


@settings(max_examples=300)
@given(st.sampled_from(sorted(FILES)), st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=6))
def test_never_refuses_what_preprocess_accepts(file: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(FILES[file])
    for offset, value in changes:
        data[offset % len(data)] = value
    try:
        bird_pixels.decode(bytes(data), bird_pixels.PixelFormat(8, 8, 1_000_000, 1_000_000))
    except bird_pixels.ImageRejected:
        return
    check_image(bytes(data), 1_000_000)


def test_leaves_gif_frame_sizes_to_preprocess() -> None:
    check_image(gif_with_a_huge_frame(), 50_000_000)
    assert "GIF frame of 65,535²" in BOMBS


def test_skips_tiff_sizes_that_the_decoder_skips() -> None:
    """Found by fuzzing: a second width tag claims to hold 40 million numbers, which the file does not contain."""
    tags = [(256, 4, 1, 40), (257, 4, 1, 24), (256, 4, 40_000_000, 1 << 24)]
    whole = b"II*\x00" + struct.pack("<IH", 8, len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    check_image(whole + bytes(4), max_pixels=40 * 24)
