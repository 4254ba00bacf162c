"""Walks the chunks of a PNG file and keeps only what the decoder needs.

Damaged or oversized metadata (a wrong checksum, a profile that inflates without end) is dropped; the picture is kept.
The frames of an animation after the first one are dropped too. cICP, gAMA and sRGB chunks are ignored on purpose:
nearly all files with one of them hold sRGB pixels.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from exif_orientation import read_orientation
from image_limits import Damage, damaged

_MAX_CHUNKS = 20_000
_MAX_PROFILE_BYTES = _MAX_TEXT_BYTES = 1_000_000
# The decoder itself checks the palette. The later frames of an animation can be most of a file and are never used.
_UNCHECKED = {b"PLTE", b"fdAT"}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type


@dataclass(frozen=True)
class PngFile:
    """What the chunks say. `picture` is a PNG file with the same pixels and no metadata."""

    width: int
    height: int
    row_bytes: int  # of the pixels as they are stored
    is_interlaced: bool
    orientation: int
    profile: bytes | None
    picture: bytes
    damage: frozenset[Damage]


def read_png(data: bytes) -> PngFile:
    """Read the chunks of a PNG file. Raises ImageRejected with the code not_an_image."""
    if len(data) < 33 or data[12:16] != b"IHDR" or data[8:12] != b"\0\0\0\r":
        raise damaged()
    width, height, bits, colour_type, _, _, interlace = struct.unpack_from(">IIBBBBB", data, 16)
    if not width or not height or colour_type not in _CHANNELS:
        raise damaged()
    kept = [data[:33]]
    pixels: list[bytes] = []
    pixels_ended = False
    orientation, profile = 1, None
    damage: set[Damage] = set()
    offset = 33
    for _ in range(_MAX_CHUNKS):
        if offset + 8 > len(data):
            damage.add(Damage.CUT_SHORT)
            break
        length, kind = struct.unpack_from(">I4s", data, offset)
        start, end = offset + 8, offset + 8 + length
        if kind == b"IEND":
            break
        if kind == b"IDAT":
            if not pixels_ended:
                pixels.append(data[start:end])
        else:
            pixels_ended = bool(pixels)
            is_intact = kind in _UNCHECKED or _is_intact(data, offset, end)
            if not is_intact:
                damage.add(Damage.CHECKSUM)
            elif kind in (b"PLTE", b"tRNS") and not pixels:
                kept.append(data[offset : end + 4])
            elif kind == b"eXIf":
                orientation = read_orientation(data[start:end])
            elif kind == b"iCCP":
                profile, found = _inflate_profile(data[start:end])
                damage |= found
            elif kind in (b"zTXt", b"iTXt") and length > _MAX_TEXT_BYTES:  # only other programs inflate it
                damage.add(Damage.METADATA_TOO_LARGE)
        offset = end + 4
    else:
        raise damaged("the file is cut into too many pieces")
    if not pixels:
        raise damaged()
    picture = b"".join([*kept, _chunk(b"IDAT", b"".join(pixels)), _chunk(b"IEND", b"")])
    row_bytes = width * _CHANNELS[colour_type] * bits // 8 + 2
    return PngFile(width, height, row_bytes, interlace != 0, orientation, profile, picture, frozenset(damage))


def _is_intact(data: bytes, offset: int, end: int) -> bool:
    return data[end : end + 4] == struct.pack(">I", zlib.crc32(data[offset + 4 : end]))


def _inflate_profile(content: bytes) -> tuple[bytes | None, set[Damage]]:
    """The ICC profile in an iCCP chunk: a name, a zero byte, the compression method, and compressed data."""
    _, separator, rest = content.partition(b"\0")
    if not separator or rest[:1] != b"\0":
        return None, {Damage.PROFILE}
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(rest[1:], _MAX_PROFILE_BYTES)
    except zlib.error:
        return None, {Damage.PROFILE}
    if inflater.unconsumed_tail:
        return None, {Damage.METADATA_TOO_LARGE}
    return (profile, set()) if profile else (None, {Damage.PROFILE})


def _chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk; the decoder does not check the checksum of IDAT and ignores IEND's."""
    return struct.pack(">I", len(content)) + kind + content + bytes(4)
