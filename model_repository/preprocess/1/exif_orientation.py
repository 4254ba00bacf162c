"""Reads how a picture must be rotated from its EXIF block, and nothing else of the block.

Pillow parses the whole block: one with 2.4 million numbers took it 8.6 s and 448 MB.
"""

from __future__ import annotations

import struct

_ORIENTATION = 0x0112
_SHORT, _LONG = 3, 4
_MAX_ENTRIES = 1000  # a camera writes about 20


def read_orientation(exif: bytes) -> int:
    """Return EXIF's orientation, 1 to 8. Anything missing or damaged is 1, which means upright."""
    block = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        return _orientation(block, order)
    except struct.error:  # truncated: the picture itself may be fine
        return 1


def _orientation(block: bytes, order: str) -> int:
    (directory,) = struct.unpack_from(order + "I", block, 4)
    (count,) = struct.unpack_from(order + "H", block, directory)
    for entry in range(directory + 2, directory + 2 + 12 * min(count, _MAX_ENTRIES), 12):
        tag, kind, values = struct.unpack_from(order + "HHI", block, entry)
        if tag == _ORIENTATION and values == 1 and kind in (_SHORT, _LONG):
            (value,) = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), block, entry + 8)
            return value if 1 <= value <= 8 else 1
    return 1
