"""Every accepted format and mode decodes to the right pixels; everything else is refused with a code."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from bird_pixels import ImageRejected, PixelFormat, decode, open_image
from PIL import Image

from tests.support.images import BLUE, RED, encoded, flat, halves

WANTED = PixelFormat(width=24, height=16, max_pixels=1_000_000, max_bytes=1_000_000)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_decodes_every_accepted_format(kind: str) -> None:
    pixels = decode(flat(RED, kind, (64, 48)), WANTED)
    assert pixels.shape == (16, 24, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - RED).max() <= 6


def test_resizes_without_cropping() -> None:
    pixels = decode(encoded(halves(RED, BLUE, (400, 20))), WANTED)
    assert tuple(pixels[8, 2]) == RED
    assert tuple(pixels[8, -3]) == BLUE


def test_decodes_first_frame_of_animation() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in (RED, BLUE)]
    for kind in ("GIF", "WEBP", "PNG"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert np.abs(decode(data, WANTED).mean(axis=(0, 1)) - RED).max() < 8


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        *[pytest.param(kind, (80, 40), id=kind) for kind in ("JPEG", "PNG", "WEBP", "AVIF", "HEIF")],
        pytest.param("JPEG", (1600, 500), id="JPEG decoded at a reduced scale"),
        pytest.param("PNG", (1600, 500), id="PNG reduced after decoding"),
    ],
)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_applies_exif_orientation(orientation: int, kind: str, size: tuple[int, int]) -> None:
    """A picture that was rotated before saving comes out upright if EXIF says how it was rotated."""
    upright = halves(RED, BLUE, size)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(encoded(stored, kind, exif=exif, quality=95), WANTED)
    assert np.abs(pixels[8, 3].astype(int) - RED).max() < 30
    assert np.abs(pixels[8, -4].astype(int) - BLUE).max() < 30


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        pytest.param(Image.new("L", (9, 9), 90), "PNG", (90, 90, 90), id="grayscale"),
        pytest.param(Image.new("1", (9, 9), 1), "PNG", (255, 255, 255), id="one bit"),
        pytest.param(Image.new("RGB", (9, 9), RED).quantize(4), "PNG", RED, id="palette"),
        pytest.param(Image.new("RGBA", (9, 9), (0, 0, 0, 0)), "PNG", (255, 255, 255), id="transparent"),
        pytest.param(Image.new("RGBA", (9, 9), (0, 0, 0, 128)), "WEBP", (127, 127, 127), id="half transparent"),
        pytest.param(Image.new("LA", (9, 9), (60, 255)), "PNG", (60, 60, 60), id="gray with alpha"),
        pytest.param(Image.new("CMYK", (9, 9), (0, 255, 255, 0)), "JPEG", (255, 0, 0), id="CMYK"),
        pytest.param(Image.new("I;16", (9, 9), 100 * 256), "PNG", (100, 100, 100), id="16 bits"),
        pytest.param(Image.new("I;16", (9, 9), 65535), "PNG", (255, 255, 255), id="16 bits, white"),
        pytest.param(Image.new("LA", (9, 9), (60, 0)), "PNG", (255, 255, 255), id="gray, transparent"),
        pytest.param(Image.new("1", (9, 9), 0), "BMP", (0, 0, 0), id="one bit, black"),
        pytest.param(Image.new("I;16", (9, 9), 100 * 256), "TIFF", (100, 100, 100), id="16 bits, TIFF"),
        pytest.param(Image.new("CMYK", (9, 9), (0, 255, 255, 0)), "TIFF", (255, 0, 0), id="CMYK, TIFF"),
        pytest.param(Image.new("RGBA", (9, 9), (*RED, 0)), "TIFF", (255, 255, 255), id="transparent TIFF"),
        pytest.param(Image.new("RGBA", (9, 9), (*RED, 0)), "AVIF", (255, 255, 255), id="transparent AVIF"),
        pytest.param(Image.new("RGB", (9, 9), RED).quantize(4), "GIF", RED, id="GIF"),
    ],
)
def test_converts_every_mode_to_rgb(image: Image.Image, kind: str, expected: tuple[int, int, int]) -> None:
    pixels = decode(encoded(image, kind), WANTED)
    assert np.abs(pixels.astype(int) - expected).max() <= 3


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma"])
def test_decodes_every_tiff_compression(compression: str) -> None:
    image = Image.new("RGB", (64, 48), RED)
    pixels = decode(encoded(image, "TIFF", compression=compression), WANTED)
    assert np.abs(pixels.astype(int) - RED).max() <= 6


def test_decodes_ycck_jpeg() -> None:
    """YCCK is a CMYK JPEG whose Adobe marker says that the inks are stored as YCbCr."""
    inks = Image.new("RGB", (16, 16), (0, 255, 255)).convert("YCbCr").getpixel((0, 0))  # no cyan, all of the others
    assert isinstance(inks, tuple)
    stored = Image.new("CMYK", (16, 16), (*(255 - channel for channel in inks), 0))
    data = bytearray(encoded(stored, "JPEG", quality=100))
    marker = data.index(b"Adobe")
    assert data[marker + 11] == 0
    data[marker + 11] = 2
    assert np.abs(decode(bytes(data), WANTED).astype(int) - (255, 0, 0)).max() <= 5


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_large_and_small_pictures_match_in_every_mode(mode: str) -> None:
    """Large pictures are averaged band by band first; both colours must keep their place and full contrast."""
    small, large = (halves((255, 255, 255), (0, 0, 0), (side, side)).convert("L") for side in (48, 977))
    convert = (lambda image: image.convert(mode)) if mode != "I;16" else _to_16_bits
    expected, actual = (decode(encoded(convert(image)), WANTED).astype(int) for image in (small, large))
    assert np.abs(expected - actual)[:, [0, 5, 10, 13, 18, 23]].max() <= 2
    assert actual[8, 2].tolist() == [255, 255, 255]
    assert actual[8, -3].tolist() == [0, 0, 0]


def _to_16_bits(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image).astype(np.uint16) * 257)


def test_bmp_with_unused_alpha_is_opaque() -> None:
    """Many programs write 32 bits per pixel and leave the fourth byte zero; such a picture came out white."""
    unused, used = (Image.new("RGBA", (48, 32), (*RED, alpha)) for alpha in (0, 0))
    used.putpixel((0, 0), (*RED, 255))
    assert decode(_with_alpha_mask(encoded(unused, "BMP")), WANTED)[8, 12].tolist() == list(RED)
    assert decode(_with_alpha_mask(encoded(used, "BMP")), WANTED)[8, 12].tolist() == [255, 255, 255]


def _with_alpha_mask(bmp: bytes) -> bytes:
    """The file with a version 4 header, which says which bits are alpha."""
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<I", 108) + bmp[18:30] + struct.pack("<I", 3) + bmp[34:54] + masks + bytes(52)
    offset = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", offset + len(bmp) - 54, 0, 0, offset) + header + bmp[54:]


def test_transparent_palette_colour_becomes_background() -> None:
    image = Image.new("P", (9, 9), 0)
    image.putpalette([0, 0, 0, 255, 255, 255])
    assert decode(encoded(image, "PNG", transparency=0), WANTED).min() == 255


def test_decodes_large_jpeg_at_reduced_scale() -> None:
    """libjpeg scales while it decodes, so memory never holds all pixels of the file."""
    data = encoded(halves(RED, BLUE, (4000, 3000)), "JPEG")
    wanted = PixelFormat(24, 16, 12_000_000, 1_000_000)
    assert open_image(data, wanted).image.size == (500, 375)
    assert np.abs(decode(data, wanted)[8, 3].astype(int) - RED).max() < 6


def test_judges_pixel_count_by_the_header() -> None:
    header = flat(RED, "PNG", (1001, 1000))[:60]  # contains no pixel data
    with pytest.raises(ImageRejected, match=r"^too_many_pixels: more than 1000000 pixels"):
        decode(header, WANTED)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_refuses_truncated_files(kind: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    whole = encoded(Image.fromarray(noise), kind)
    for tenth in range(1, 10):
        with pytest.raises(ImageRejected, match=r"^not_an_image: "):
            decode(whole[: len(whole) * tenth // 10], WANTED)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"", "not_an_image", id="empty"),
        pytest.param(b"\xff", "not_an_image", id="one byte"),
        pytest.param(b"<!doctype html><title>404</title>", "not_an_image", id="HTML"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format", id="SVG"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unsupported_format", id="EPS"),
        pytest.param(b"%PDF-1.7\n", "not_an_image", id="PDF"),
        pytest.param(encoded(Image.new("RGB", (9, 9)), "ICO"), "unsupported_format", id="ICO"),
        pytest.param(encoded(Image.new("RGB", (9, 9)), "PPM"), "unsupported_format", id="PPM"),
        pytest.param(encoded(Image.new("F", (9, 9)), "TIFF"), "unsupported_format", id="TIFF of floats"),
        pytest.param(encoded(Image.new("RGB", (9, 9)), "JPEG2000"), "unsupported_format", id="JPEG 2000"),
        pytest.param(b"PK\x03\x04" + bytes(99), "not_an_image", id="ZIP"),
        pytest.param(bytes(5000), "not_an_image", id="zeros"),
        pytest.param(b"GIF89a", "not_an_image", id="a signature alone"),
    ],
)
def test_refuses_other_files_with_a_code(data: bytes, code: str) -> None:
    with pytest.raises(ImageRejected) as refused:
        decode(data, WANTED)
    assert refused.value.code == code
