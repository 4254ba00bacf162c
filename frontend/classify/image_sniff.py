"""Reads the image format and the size from the header of a file, without decoding it.

Refuses files that are clearly not acceptable before they travel to Triton. Everything uncertain is left to
`preprocess`, which checks again.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from frontend.errors import NotAnImage, TooManyPixels, UnsupportedFormat

# These tables repeat those in model_repository/preprocess/1/signatures.py, which runs in another process and without
# this package. A test holds them together.
_ACCEPTED = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
_OTHERS = {
    b"\0\0\1\0": "ICO",
    b"8BPS": "Photoshop",
    b"%!PS": "PostScript",
    b"\xff\x0a": "JPEG XL",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"P4": "PBM",
    b"P5": "PGM",
    b"P6": "PPM",
    b"qoif": "QOI",
    b"FUJIFILMCCD-RAW": "camera raw (RAF)",
    b"IIU\0": "camera raw (RW2)",
    b"IIRO": "camera raw (ORF)",
    b"IIRS": "camera raw (ORF)",
    b"MMOR": "camera raw (ORF)",
}
_OTHER_BOXES = {
    b"ftypcrx ": "camera raw (CR3)",
    b"JXL \r\n\x87\n": "JPEG XL",
    b"jP  \r\n\x87\n": "JPEG 2000",
}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_GENERIC_BRANDS = {b"mif1", b"msf1", b"mif2", b"miaf"}  # AVIF or HEIF: the compatible brands tell which
_MAX_BRANDS_BYTES = 256
_START_OF_FRAME = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_MAX_SEGMENTS = 1000


@dataclass(frozen=True)
class ImageHeader:
    """The format by Pillow's name, and (width, height) in pixels, or None if the header was not understood."""

    kind: str
    size: tuple[int, int] | None


def check_image(data: bytes, max_pixels: int) -> None:
    """Raise NotAnImage, UnsupportedFormat or TooManyPixels if the header is enough to say so."""
    header = read_header(data)
    if header.size and header.size[0] * header.size[1] > max_pixels:
        raise TooManyPixels()


def read_header(data: bytes) -> ImageHeader:
    """Return what the file claims to be. Raises NotAnImage or UnsupportedFormat if no accepted signature is found."""
    kind = _kind(data)
    try:
        return ImageHeader(kind, _SIZES[kind](data))
    except (struct.error, IndexError):  # truncated, or not what its signature says: left to preprocess
        return ImageHeader(kind, None)


def _kind(data: bytes) -> str:
    for start, kind in _ACCEPTED.items():
        if data.startswith(start):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp" and (still := _kind_by_brands(data)):
        return still
    if name := _name_of_other(data):
        raise UnsupportedFormat(format=name)
    raise NotAnImage()


def _name_of_other(data: bytes) -> str | None:
    if name := next((name for start, name in _OTHERS.items() if data.startswith(start)), None):
        return name
    return "SVG" if b"<svg" in data[:1024] else _OTHER_BOXES.get(data[4:12])


def _kind_by_brands(data: bytes) -> str | None:
    size = min(int.from_bytes(data[:4], "big"), _MAX_BRANDS_BYTES)
    major = data[8:12]
    brands = [major] if major not in _GENERIC_BRANDS else [data[at : at + 4] for at in range(16, size - 3, 4)]
    if _AVIF_BRANDS.intersection(brands):
        return "AVIF"
    return "HEIF" if _HEIF_BRANDS.intersection(brands) or major in _GENERIC_BRANDS else None


def _png_size(data: bytes) -> tuple[int, int] | None:
    return struct.unpack_from(">II", data, 16) if data[12:16] == b"IHDR" else None


def _gif_size(data: bytes) -> tuple[int, int]:
    return struct.unpack_from("<HH", data, 6)


def _bmp_size(data: bytes) -> tuple[int, int]:
    if struct.unpack_from("<I", data, 14)[0] == 12:  # the header of OS/2
        return struct.unpack_from("<HH", data, 18)
    width, height = struct.unpack_from("<ii", data, 18)
    return abs(width), abs(height)  # a negative height means that the top row comes first


def _webp_size(data: bytes) -> tuple[int, int] | None:
    chunk = data[12:16]
    if chunk == b"VP8X":
        return _uint24(data, 24) + 1, _uint24(data, 27) + 1
    if chunk == b"VP8L" and data[20] == 0x2F:
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _uint24(data: bytes, offset: int) -> int:
    return int(struct.unpack_from("<HB", data, offset)[0]) | data[offset + 2] << 16


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    offset = 2
    for _ in range(_MAX_SEGMENTS):
        if data[offset] != 0xFF:
            return None
        marker = data[offset + 1]
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, offset + 5)
            return width, height
        if marker == 0xFF:  # a fill byte
            offset += 1
        elif marker in _WITHOUT_LENGTH:
            offset += 2
        else:
            offset += 2 + struct.unpack_from(">H", data, offset + 2)[0]
    return None


def _heif_size(data: bytes) -> tuple[int, int] | None:
    """The size of the largest image in the file, which may also hold alpha planes, thumbnails and tiles of a grid.

    AVIF is a HEIF container too.
    """
    inside = _box(data, 0, len(data), b"meta")
    for kind, skipped in ((b"iprp", 4), (b"ipco", 0)):  # meta has four bytes of version and flags
        inside = inside and _box(data, inside[0] + skipped, inside[1], kind)
    sizes: list[tuple[int, int]] = []
    offset, end = inside or (0, 0)
    while found := _box(data, offset, end, b"ispe"):
        sizes.append(struct.unpack_from(">II", data, found[0] + 4))
        offset = found[1]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _box(data: bytes, offset: int, end: int, kind: bytes) -> tuple[int, int] | None:
    """Return (start, end) of the contents of the next box of this kind between `offset` and `end`."""
    for _ in range(_MAX_SEGMENTS):
        if offset + 8 > end:
            return None
        size = struct.unpack_from(">I", data, offset)[0]
        if size < 8:  # to the end of the file, or 64 bits long: neither occurs in an image's header
            return None
        if data[offset + 4 : offset + 8] == kind:
            return offset + 8, min(offset + size, end)
        offset += size
    return None


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    order = "<" if data.startswith(b"II*\x00") else ">"
    if data[:4] not in (b"II*\x00", b"MM\x00*"):  # BigTIFF
        return None
    directory = struct.unpack_from(order + "I", data, 4)[0]
    (count,) = struct.unpack_from(order + "H", data, directory)
    sides = {}
    for entry in range(directory + 2, directory + 2 + 12 * min(count, _MAX_SEGMENTS), 12):
        tag, kind, values, value = struct.unpack_from(order + "HHII", data, entry)
        if tag in (256, 257) and kind in (3, 4) and values == 1:  # the decoder skips others too
            sides[tag] = value if kind == 4 else struct.unpack_from(order + "H", data, entry + 8)[0]
    return (sides[256], sides[257]) if len(sides) == 2 else None


_SIZES = {
    "TIFF": _tiff_size,
    "JPEG": _jpeg_size,
    "PNG": _png_size,
    "GIF": _gif_size,
    "WEBP": _webp_size,
    "AVIF": _heif_size,
    "HEIF": _heif_size,
    "BMP": _bmp_size,
}
