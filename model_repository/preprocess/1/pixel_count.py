"""How many pixels an AVIF or HEIC file makes its decoder allocate, read before anything is decoded.

That can be more than the picture has: an AVIF file of 3,472 bytes stated 64 × 64 and decoded to 268 megapixels.
Transparency, tiles and layers have sizes of their own, and so has AV1 data. HEVC data is not read, because libheif lets
its decoder use no more than the stated size and 64 pixels each way (since 1.23).
"""

from __future__ import annotations

from collections.abc import Iterator

from av1_sizes import read_av1_sizes
from heif_items import Picture, Size, read_number, read_pictures
from image_limits import damaged

_MAX_AV1_UNITS = 16_384  # of all items together; each takes 5 µs
_CANVAS_AT = {b"grid": 4, b"iovl": 10}  # where an item that is made of others has the size of the whole


def count_decoded_pixels(data: bytes) -> int:
    """Return the pixels of the largest picture in the file, of any kind. Raises ImageRejected: not_an_image."""
    units = iter(range(_MAX_AV1_UNITS))
    try:
        sizes = [size for picture in read_pictures(data) for size in _sizes(picture, units)]
    except IndexError as error:  # something ends too early
        raise damaged() from error
    return max((width * height for width, height in sizes), default=0)


def _sizes(picture: Picture, units: Iterator[int]) -> Iterator[Size]:
    """Yield every size that the picture is said to have."""
    yield from picture.stated
    if picture.kind == b"av01":
        yield from read_av1_sizes(picture.data, units)
    elif picture.kind == b"hvc1" and not picture.stated:
        raise damaged("a picture has no size")
    elif picture.kind in _CANVAS_AT:
        content, position = picture.data, _CANVAS_AT[picture.kind]
        size_bytes = 4 if read_number(content, 1, 1) & 1 else 2
        yield read_number(content, position, size_bytes), read_number(content, position + size_bytes, size_bytes)
