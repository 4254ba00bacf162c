"""Turns the bytes of one image file into RGB pixels. Pillow and numpy only; knows nothing of Triton.

Two steps, so that a caller can make room for the second: open_image() reads the header and refuses what is not
acceptable; pixels() decodes. decode() is both.
"""

from __future__ import annotations

import io
import logging
import warnings
from dataclasses import dataclass

import numpy as np
import quiet_libtiff
from PIL import AvifImagePlugin, Image, UnidentifiedImageError

Image.init()  # load the decoders now, not with the first image
# Only these decoders ever see a stranger's bytes.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", *(("TIFF",) if quiet_libtiff.silence() else ()))
_BACKGROUND = (255, 255, 255)  # shows through where an image is transparent
# A JPEG is decoded at the smallest of its scales that has at least this many times the wanted width and height.
_DRAFT_FACTOR = 2
# Boxes of pixels of very large images are averaged first, down to at least this many times the wanted size.
_AVERAGING_FACTOR = 8
# Rows that are converted to RGB at a time, so that a large image is not in memory twice.
_BAND_ROWS = 256
# Peak memory of decoding, measured at 50 MP in every mode and rounded up; a progressive JPEG's is 8.
_BYTES_PER_PIXEL = {"JPEG": 0, "MPO": 0, "PNG": 5, "GIF": 5, "BMP": 5, "WEBP": 16, "AVIF": 11, "TIFF": 12}
# Real progressive JPEGs have about 10 scans. Each may cost a pass over the whole image for a few bytes: 300 kB with
# 300 scans of 50 MP took 10 s.
_MAX_JPEG_SCANS = 64
# Parsers read a file part by part, and parts may be as small as a byte: 20 MB of them took 11 s. A 20 MB PNG cut into
# the customary 8 kB takes 10,000 reads.
_MAX_READS = 50_000

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # several images are decoded at once already; each thread costs a frame

# A stranger's file must not be able to write to our stderr.
warnings.filterwarnings("ignore", module="PIL")
logging.getLogger("PIL").addHandler(logging.NullHandler())


class ImageRejected(Exception):
    """Bytes that will not become pixels. `code` is stable, for programs; `reason` is for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


@dataclass(frozen=True)
class PixelFormat:
    """The size every image is brought to, in pixels, and the largest file that is accepted.

    `max_pixels` is width × height as the header says, judged before decoding; `max_bytes` is the encoded size.
    """

    width: int
    height: int
    max_pixels: int
    max_bytes: int


class _PatientFile(io.BytesIO):
    """A file in memory that can be read from often, but not for ever."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > _MAX_READS:
            raise ImageRejected("not_an_image", "the file is cut into too many pieces")
        return super().read(size)


@dataclass(frozen=True)
class OpenedImage:
    """An acceptable image of which only the header has been read, and about how many bytes decoding it takes."""

    image: Image.Image
    decoding_bytes: int


def decode(data: bytes, wanted: PixelFormat) -> np.ndarray:
    """Return uint8 RGB pixels `[height, width, 3]` of the first frame, upright, squashed to the wanted size.

    Raises ImageRejected with the code too_large, not_an_image, unsupported_format or too_many_pixels.
    """
    return pixels(open_image(data, wanted), wanted)


def open_image(data: bytes, wanted: PixelFormat) -> OpenedImage:
    """Read the header. Raises ImageRejected as decode() does."""
    if len(data) > wanted.max_bytes:
        raise ImageRejected("too_large", f"the file has more than {wanted.max_bytes} bytes")
    if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") > _MAX_JPEG_SCANS:
        raise ImageRejected("unsupported_format", f"a JPEG with more than {_MAX_JPEG_SCANS} scans")
    image = _open(data, wanted)
    width, height = image.size
    enough = _DRAFT_FACTOR * max(wanted.width, wanted.height)  # whichever way the image is turned later
    image.draft(None, (enough, enough))
    per_pixel = 8 if "progressive" in image.info else _BYTES_PER_PIXEL[image.format or ""]
    decoding = max(width * height * per_pixel, image.width * image.height * _BYTES_PER_PIXEL["PNG"])
    across, down = _box(image, wanted)
    averaging = 4 * (image.width // across + 1) * (image.height // down + 1)
    return OpenedImage(image, decoding + averaging + 2 * len(data))


def pixels(opened: OpenedImage, wanted: PixelFormat) -> np.ndarray:
    """Decode what open_image() returned. Raises ImageRejected, or MemoryError when there is not enough of it."""
    try:
        rgb = _reduced_rgb(opened.image, _box(opened.image, wanted))
        turn = _TURNS.get(_orientation(opened.image))
        upright = rgb if turn is None else rgb.transpose(turn)
        return np.asarray(upright.resize((wanted.width, wanted.height), Image.Resampling.BILINEAR))
    except (MemoryError, ImageRejected):
        raise
    except Exception as error:  # Pillow's decoders raise at least seven kinds for damaged files
        raise ImageRejected("not_an_image", "the image is damaged or truncated") from error


def _box(image: Image.Image, wanted: PixelFormat) -> tuple[int, int]:
    """How many pixels across and down are averaged."""
    enough = _AVERAGING_FACTOR * max(wanted.width, wanted.height)
    return max(1, image.width // enough), max(1, image.height // enough)


def _open(data: bytes, wanted: PixelFormat) -> Image.Image:
    # Pillow must judge the size, because opening a WebP or a GIF may allocate already. It only warns above this number
    # and raises above twice this number.
    Image.MAX_IMAGE_PIXELS = -(-wanted.max_pixels // 2)
    try:
        return Image.open(_PatientFile(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        if _is_known_elsewhere(data):
            raise ImageRejected("unsupported_format", f"accepted are {', '.join(FORMATS)}") from error
        raise ImageRejected("not_an_image", "the bytes are no image") from error
    except Image.DecompressionBombError as error:
        raise ImageRejected("too_many_pixels", f"more than {wanted.max_pixels} pixels") from error
    except (MemoryError, ImageRejected):
        raise
    except Exception as error:  # a header so broken that its parser fails in its own way
        raise ImageRejected("not_an_image", "the image is damaged or truncated") from error


# First bytes of image formats that exist but are not accepted here.
_OTHER_FORMATS = (*(b"\x00\x00\x01\x00", b"8BPS", b"%!PS", b"\xff\x0a", b"\xff\x4f\xff\x51", b"P5", b"P6", b"qoif"),)
_OTHER_BRANDS = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1", b"JXL \r\n\x87\n", b"jP  \r\n\x87\n")


def _is_known_elsewhere(data: bytes) -> bool:
    return data.startswith(_OTHER_FORMATS) or data[4:12].startswith(_OTHER_BRANDS) or b"<svg" in data[:1024]


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except (MemoryError, ImageRejected):
        raise
    except Exception:  # the pixels may be fine, only the note on how to turn them is not
        return 1


def _reduced_rgb(image: Image.Image, box: tuple[int, int]) -> Image.Image:
    """Decode, and average boxes of pixels, as RGB."""
    image.load()
    if image.mode == "RGB" and box == (1, 1) and not image.has_transparency_data:
        return image  # as most photos are: nothing to convert or to average
    width, height = image.size
    across, down = box
    rows = down * max(1, _BAND_ROWS // down)
    reduced = Image.new("RGB", (-(-width // across), -(-height // down)))
    for top in range(0, height, rows):
        band = _to_rgb(image.crop((0, top, width, min(top + rows, height))))
        reduced.paste(band.reduce(box), (0, top // down))
    return reduced


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
