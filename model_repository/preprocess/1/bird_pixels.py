"""Turns the bytes of one image file into RGB pixels. Pillow and numpy only; knows nothing of Triton."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Only these decoders ever see a stranger's bytes.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_BACKGROUND = (255, 255, 255)  # shows through where an image is transparent
# A JPEG is decoded at the smallest of its scales that has at least this many times the wanted width and height.
_DRAFT_FACTOR = 2

Image.init()  # load the decoders now, not with the first image

# Sizes are judged by decode() before any pixel is decoded; Pillow's own check would warn on stderr first.
Image.MAX_IMAGE_PIXELS = None


class ImageRejected(Exception):
    """Bytes that will not become pixels. `code` is stable, for programs; `reason` is for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


@dataclass(frozen=True)
class PixelFormat:
    """The size every image is brought to, in pixels, and the largest image that is accepted (width × height)."""

    width: int
    height: int
    max_pixels: int


def decode(data: bytes, wanted: PixelFormat) -> np.ndarray:
    """Return uint8 RGB pixels `[height, width, 3]` of the first frame, upright, squashed to the wanted size.

    Raises ImageRejected with the code not_an_image, unsupported_format or too_many_pixels.
    """
    image = _open(data)
    width, height = image.size
    if width * height > wanted.max_pixels:
        raise ImageRejected("too_many_pixels", f"{width}x{height} is over {wanted.max_pixels} pixels")
    try:
        image.draft(None, (_DRAFT_FACTOR * wanted.width, _DRAFT_FACTOR * wanted.height))
        rgb = _to_rgb(_upright(image))
        small = rgb.resize((wanted.width, wanted.height), Image.Resampling.BILINEAR)
    except Exception as error:  # Pillow's decoders raise at least seven kinds for damaged files
        raise ImageRejected("not_an_image", "the image is damaged or truncated") from error
    return np.asarray(small)


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        if _is_known_elsewhere(data):
            raise ImageRejected("unsupported_format", f"accepted are {', '.join(FORMATS)}") from error
        raise ImageRejected("not_an_image", "the bytes are no image") from error
    except Exception as error:  # a header so broken that its parser fails in its own way
        raise ImageRejected("not_an_image", "the image is damaged or truncated") from error


# First bytes of image formats that exist but are not accepted here.
_OTHER_FORMATS = (b"\x00\x00\x01\x00", b"8BPS", b"%!PS", b"\xff\x0a", b"\xff\x4f\xff\x51", b"P5", b"P6", b"qoif")
_OTHER_BRANDS = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1", b"JXL \r\n\x87\n", b"jP  \r\n\x87\n")


def _is_known_elsewhere(data: bytes) -> bool:
    return data.startswith(_OTHER_FORMATS) or data[4:12].startswith(_OTHER_BRANDS) or b"<svg" in data[:1024]


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, OverflowError, ZeroDivisionError):
        return image  # the pixels are fine, only the note on how to turn them is not


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a sample: convert() alone would clip nearly everything to white
        return image.convert("I").point(lambda value: value / 256).convert("L").convert("RGB")
    if image.mode == "F":
        raise ImageRejected("unsupported_format", "floating-point pixels have no agreed range")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        backdrop = Image.new("RGBA", layer.size, _BACKGROUND)
        return Image.alpha_composite(backdrop, layer).convert("RGB")
    return image.convert("RGB")
