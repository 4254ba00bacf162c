"""Turns the bytes of one image file into RGB pixels. Independent of Triton and of worker processes.

Two steps: open_image() reads the header, refuses what is not acceptable and estimates the cost; decode_opened() does
the work. decode() is both.
"""

from __future__ import annotations

import io
import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import colour_profiles
import jpeg_segments
import pi_heif
import png_chunks
import quiet_libtiff
from colour_profiles import convert, suits, transform_to_srgb
from exif_orientation import read_orientation
from image_limits import Damage, ImageRejected, MoreMemoryNeeded, PixelFormat, damaged, unsupported
from PIL import AvifImagePlugin, Image
from pixel_count import count_decoded_pixels
from rgb_conversion import reduce_to_rgb
from rgb_resizing import ResizingFailed, resize_rgb
from signatures import format_of
from tiff_directory import check_tiff
from webp_header import read_webp_size

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "FORMATS",
    "ImageRejected",
    "OpenedImage",
    "PixelFormat",
    "decode",
    "decode_opened",
    "open_if_cheap",
    "open_image",
]

Image.init()  # load the decoders now, not with the first image
# Only still pictures: no thumbnails, depth maps or gain maps. Several images are decoded at once already.
pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each thread would cost the memory of a frame
# Only these decoders ever see the bytes of a file.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "HEIF", *(("TIFF",) if quiet_libtiff.silence() else ()))
# A JPEG is decoded at the smallest of its scales that has at least this many times the wanted width and height.
_DRAFT_FACTOR = 2
# Boxes of pixels of very large images are averaged first, down to at least this many times the wanted size.
_AVERAGING_FACTOR = 8
# Peak memory of decoding in bytes per pixel, measured at 50 MP in every mode and rounded up.
_BYTES_PER_PIXEL = {"PNG": 5, "GIF": 5, "BMP": 7, "WEBP": 16, "AVIF": 11, "TIFF": 12, "HEIF": 16}
_JPEG_BYTES_PER_PIXEL = 5  # of the scaled picture
_BUFFERED_JPEG_BYTES_PER_PIXEL = 8  # every coefficient, 2 bytes for each of up to 4 components
# Parsers read a file part by part, and parts may be as small as a byte: 20 MB of them took 11 s. A 20 MB PNG in
# chunks of 8 kB takes 10,000 reads.
_MAX_READS = 50_000
# A JPEG without its end marker is classified if at least this part of its rows is there.
_ENOUGH_ROWS = 0.9
# Limits of a decode in Triton's own process. Pixels and scans bound the cost of a JPEG or PNG of this size;
# docs/decisions.md has the measurements.
_CHEAP_BYTES = 64_000_000
_CHEAP_PIXEL_SCANS = 150_000_000

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Untrusted files must not be able to write to our stderr.
warnings.filterwarnings("ignore", module="PIL")
logging.getLogger("PIL").addHandler(logging.NullHandler())


class _LimitedFile(io.BytesIO):
    """A file in memory that can be read from a limited number of times."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > _MAX_READS:
            raise damaged("the file is cut into too many pieces")
        return super().read(size)


@dataclass(frozen=True)
class OpenedImage:
    """An acceptable image. Its header has been read; its pixels have not been decoded.

    `decoding_bytes` estimates the memory that decoding takes. `is_cheap` promises bounded time and memory.
    `orientation` is EXIF's, 1 to 8. `profile` is the embedded ICC profile. `is_complete` is False for a JPEG that may
    be decoded although it is cut short. `damage` is what is wrong with the file, apart from its profile.
    """

    image: Image.Image
    decoding_bytes: int
    is_cheap: bool = False
    orientation: int = 1
    profile: bytes | None = None
    is_complete: bool = True
    damage: frozenset[Damage] = frozenset()


def decode(data: bytes, wanted: PixelFormat) -> np.ndarray:
    """Return uint8 RGB pixels `[height, width, 3]` of the first frame, upright, in sRGB, resized without cropping.

    Raises ImageRejected with the code too_large, not_an_image, unsupported_format or too_many_pixels, and MemoryError.
    """
    import numpy as np  # workers need no NumPy and start sooner without it

    return np.asarray(decode_opened(open_image(data, wanted), wanted))


def open_image(data: bytes, wanted: PixelFormat, granted_bytes: int | None = None) -> OpenedImage:
    """Read the header.

    Raises ImageRejected as decode() does, and MoreMemoryNeeded if decoding takes more than `granted_bytes`.
    """
    kind = _accepted_format(data, wanted)
    if kind == "WEBP":  # some versions of Pillow allocate the canvas before they check its size
        width, height = read_webp_size(data)
        _check_pixels(width, height, wanted)
        _check_memory(width * height * _BYTES_PER_PIXEL[kind] + 2 * len(data), granted_bytes)
    opened = _OPENERS[kind](data, wanted) if kind in _OPENERS else _open_other(data, wanted, kind)
    _check_memory(opened.decoding_bytes, granted_bytes)
    return opened


def open_if_cheap(data: bytes, wanted: PixelFormat) -> OpenedImage | None:
    """Open the image if the time and memory of opening and decoding it are known to be small, else return None.

    Raises ImageRejected as decode() does.
    """
    kind = _accepted_format(data, wanted)
    opened = _OPENERS[kind](data, wanted) if kind in _OPENERS else None
    return opened if opened and opened.is_cheap else None


def decode_opened(opened: OpenedImage, wanted: PixelFormat) -> Image.Image:
    """Decode what open_image() returned to an RGB image of the wanted size.

    Raises ImageRejected, MemoryError and ResizingFailed.
    """
    try:
        image = _load_pixels(opened, wanted)
        transform = transform_to_srgb(opened.profile) if opened.profile else None
        if transform and not suits(transform, image):
            transform = None
        turn = _TURNS.get(opened.orientation)
        rgb = reduce_to_rgb(image, _box(image, wanted), transform)
        upright = rgb if turn is None else rgb.transpose(turn)
        resized = resize_rgb(upright, (wanted.width, wanted.height))
        # Few pixels are left to convert now. CMYK has been converted to sRGB already.
        return resized if transform is None or image.mode == "CMYK" else convert(resized, transform)
    except (MemoryError, ImageRejected, ResizingFailed):
        raise
    except Exception as error:  # Pillow's decoders raise at least seven kinds for damaged files
        raise damaged() from error


def damage_of(opened: OpenedImage) -> set[Damage]:
    """Return what is wrong with an image that was decoded anyway. Parses its profile, so call it only in a worker."""
    is_usable = opened.profile is None or colour_profiles.is_usable(opened.profile)
    return {*opened.damage} if is_usable else {*opened.damage, Damage.PROFILE}


def _accepted_format(data: bytes, wanted: PixelFormat) -> str:
    if len(data) > wanted.max_bytes:
        raise ImageRejected("too_large", f"the file has more than {wanted.max_bytes} bytes")
    kind = format_of(data)
    if kind not in FORMATS:
        raise unsupported(kind)
    return kind


def _open_jpeg(data: bytes, wanted: PixelFormat) -> OpenedImage:
    file = jpeg_segments.read_jpeg(data)
    _check_pixels(file.width, file.height, wanted)
    image = _open(file.picture, wanted, "JPEG")
    enough = _DRAFT_FACTOR * max(wanted.width, wanted.height)  # the picture may be rotated later
    image.draft(None, (enough, enough))
    count = file.width * file.height
    decoding = image.width * image.height * _JPEG_BYTES_PER_PIXEL
    decoding += count * _BUFFERED_JPEG_BYTES_PER_PIXEL if file.is_buffered else 0
    decoding += _resizing_bytes(image, wanted) + 2 * len(data)
    is_cheap = (
        decoding <= _CHEAP_BYTES
        and (count if not file.is_buffered else count * file.scans) <= _CHEAP_PIXEL_SCANS
        and not file.is_arithmetic
    )
    is_complete = file.is_complete or file.is_buffered
    return OpenedImage(image, decoding, is_cheap, file.orientation, file.profile, is_complete, file.damage)


def _open_png(data: bytes, wanted: PixelFormat) -> OpenedImage:
    file = png_chunks.read_png(data)
    _check_pixels(file.width, file.height, wanted)
    image = _open(file.picture, wanted, "PNG")
    decoding = file.width * file.height * _BYTES_PER_PIXEL["PNG"] + 2 * file.row_bytes  # this row and the one above
    decoding += _resizing_bytes(image, wanted) + 2 * len(data)
    is_cheap = decoding <= _CHEAP_BYTES and not file.is_interlaced
    return OpenedImage(image, decoding, is_cheap, file.orientation, file.profile, damage=file.damage)


def _open_other(data: bytes, wanted: PixelFormat, kind: str) -> OpenedImage:
    count = _MEASURED[kind](data) if kind in _MEASURED else 0
    _check_pixels(count, 1, wanted)
    image = _open(data, wanted, kind)
    # libheif rotates by the container's own boxes, and Pillow rotates a TIFF.
    orientation = 1 if kind in ("HEIF", "TIFF") else read_orientation(image.info.get("exif") or b"")
    count = max(image.width * image.height, count)
    estimate = count * _BYTES_PER_PIXEL[kind] + _resizing_bytes(image, wanted) + 2 * len(data)
    return OpenedImage(image, estimate, orientation=orientation, profile=image.info.get("icc_profile"))


# How many pixels the decoder allocates, if that can be more than the picture has.
_MEASURED = {"TIFF": check_tiff, "AVIF": count_decoded_pixels, "HEIF": count_decoded_pixels}
_OPENERS = {"JPEG": _open_jpeg, "PNG": _open_png}


def _open(data: bytes, wanted: PixelFormat, kind: str) -> Image.Image:
    # Pillow must check the size, because opening a WebP or a GIF may allocate already. It only warns above this number
    # and raises above twice this number.
    Image.MAX_IMAGE_PIXELS = -(-wanted.max_pixels // 2)
    try:
        image = Image.open(_LimitedFile(data), formats=(kind,))
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(wanted) from error
    except (MemoryError, ImageRejected):
        raise
    except Exception as error:  # a header so broken that its parser fails in its own way
        raise damaged() from error
    _check_pixels(image.width, image.height, wanted)
    return image


def _check_pixels(width: int, height: int, wanted: PixelFormat) -> None:
    if width * height > wanted.max_pixels:
        raise _too_many_pixels(wanted)


def _check_memory(needed_bytes: int, granted_bytes: int | None) -> None:
    if granted_bytes is not None and needed_bytes > granted_bytes:
        raise MoreMemoryNeeded(needed_bytes)


def _too_many_pixels(wanted: PixelFormat) -> ImageRejected:
    return ImageRejected("too_many_pixels", f"more than {wanted.max_pixels} pixels")


def _box(image: Image.Image, wanted: PixelFormat) -> tuple[int, int]:
    """How many pixels across and down are averaged."""
    enough = _AVERAGING_FACTOR * max(wanted.width, wanted.height)
    return max(1, image.width // enough), max(1, image.height // enough)


def _resizing_bytes(image: Image.Image, wanted: PixelFormat) -> int:
    """The memory of the averaged picture."""
    across, down = _box(image, wanted)
    return 4 * (image.width // across + 1) * (image.height // down + 1)


def _load_pixels(opened: OpenedImage, wanted: PixelFormat) -> Image.Image:
    """Decode the image. Of a JPEG that is cut short, return the rows present, if there are enough of them."""
    image = opened.image
    try:
        image.load()
    except OSError:
        if opened.is_complete or not getattr(image, "_im", None):
            raise
        # Rows that were not decoded are still zero.
        _, _, _, bottom = image.im.getbbox() or (0, 0, 0, 0)
        if bottom < _ENOUGH_ROWS * image.height:
            raise
        setattr(image, "tile", [])  # it counts as loaded  # noqa: B010 only files have tiles
        image = image.crop((0, 0, image.width, bottom))
    _check_pixels(image.width, image.height, wanted)  # libheif corrects the size while it decodes
    return image
