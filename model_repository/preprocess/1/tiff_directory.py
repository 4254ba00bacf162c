"""Reads the first directory of a TIFF file: what the file holds, before libtiff or Pillow touches it.

Refuses cheaply what would be expensive or wrong: strips that share their bytes (67 kB of them took 10.7 s), camera raw
files (their first picture is a thumbnail), and pixels that have no agreed range or no decoder. Tiles may be larger than
the picture: a file of 1,134 bytes with one of 30,000 × 30,000 pixels took 880 MB.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence

from image_limits import damaged, unsupported

_MAX_ENTRIES = 4096
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}

_NEW_SUBFILE_TYPE, _COMPRESSION, _PHOTOMETRIC, _MAKE = 254, 259, 262, 271
_STRIP_BYTE_COUNTS, _TILE_BYTE_COUNTS, _SUB_DIRECTORIES = 279, 325, 330
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_SAMPLE_FORMAT, _DNG_VERSION = 339, 50706
_JPEG_2000 = {33003, 33005, 34712}
_COLOUR_FILTER_ARRAY, _LINEAR_RAW = 32803, 34892
_FLOAT = 3
_RAW_BY_MAKER = {
    b"NIKON": "NEF",
    b"SONY": "ARW",
    b"CANON": "CR2",
    b"PENTAX": "PEF",
    b"SAMSUNG": "SRW",
    b"OLYMPUS": "ORF",
}


class TiffDirectory:
    """The entries of the first directory, by tag: (type, count, offset of the values)."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = "<" if data[:2] == b"II" else ">"
        self._is_big = data[2:4] in (b"+\0", b"\0+")
        try:
            self._entries = self._read()
        except (struct.error, OverflowError) as error:  # an offset behind the end, or of 64 bits
            raise damaged() from error

    def _read(self) -> dict[int, tuple[int, int, int]]:
        offset_format, count_format, step = ("Q", "Q", 20) if self._is_big else ("I", "H", 12)
        (directory,) = struct.unpack_from(self._order + offset_format, self._data, 8 if self._is_big else 4)
        (count,) = struct.unpack_from(self._order + count_format, self._data, directory)
        first = directory + struct.calcsize("<" + count_format)
        inline = struct.calcsize("<" + offset_format)
        entries: dict[int, tuple[int, int, int]] = {}
        for entry in range(first, first + step * min(count, _MAX_ENTRIES), step):
            tag, kind, values = struct.unpack_from(self._order + "HH" + offset_format, self._data, entry)
            position = entry + 4 + inline
            if values * _SIZES.get(kind, 1) > inline:
                (position,) = struct.unpack_from(self._order + offset_format, self._data, position)
            entries.setdefault(tag, (kind, values, position))  # libtiff too uses the first one
        return entries

    def read_numbers(self, tag: int) -> Sequence[int]:
        """Return the values of an integer tag; empty if it is missing, has another type, or lies outside the file."""
        kind, count, position = self._entries.get(tag, (0, 0, 0))
        code = _NUMBERS.get(kind)
        if code is None or position + count * _SIZES[kind] > len(self._data):
            return ()
        values = array(code, self._data[position : position + count * _SIZES[kind]])
        if self._order == ">":
            values.byteswap()
        return values

    def first(self, tag: int) -> int | None:
        return next(iter(self.read_numbers(tag)), None)

    def text(self, tag: int) -> bytes:
        kind, count, position = self._entries.get(tag, (0, 0, 0))
        return self._data[position : position + min(count, 100)] if kind == 2 else b""

    def has(self, tag: int) -> bool:
        return tag in self._entries


def check_tiff(data: bytes) -> int:
    """Return the pixels of a tile of the first picture, or 0 if it has none: the decoder allocates a whole tile.

    Raises ImageRejected (not_an_image, unsupported_format) for a file that must not be decoded.
    """
    directory = TiffDirectory(data)
    if raw := _camera_raw(data, directory):
        raise unsupported(f"camera raw ({raw})")
    if directory.first(_COMPRESSION) in _JPEG_2000:
        raise unsupported("TIFF with JPEG 2000 compression")
    if _FLOAT in directory.read_numbers(_SAMPLE_FORMAT):
        raise unsupported("TIFF with floating-point pixels")  # they have no agreed range
    for tag in (_STRIP_BYTE_COUNTS, _TILE_BYTE_COUNTS):
        if sum(directory.read_numbers(tag)) > len(data):
            raise damaged("the strips or tiles are larger than the file")
    return (directory.first(_TILE_WIDTH) or 0) * (directory.first(_TILE_LENGTH) or 0)


def _camera_raw(data: bytes, directory: TiffDirectory) -> str | None:
    """Return the name of the raw format, or None for an ordinary TIFF file."""
    if directory.has(_DNG_VERSION):
        return "DNG"
    if data[8:10] == b"CR":
        return "CR2"
    is_thumbnail = directory.has(_SUB_DIRECTORIES) and ((directory.first(_NEW_SUBFILE_TYPE) or 0) & 1)
    if is_thumbnail or directory.first(_PHOTOMETRIC) in (_COLOUR_FILTER_ARRAY, _LINEAR_RAW):
        maker = directory.text(_MAKE).upper()
        return next((name for prefix, name in _RAW_BY_MAKER.items() if maker.startswith(prefix)), "unknown maker")
    return None
