"""Reads the size of a WebP picture, because Pillow allocates the whole canvas when it opens one."""

from __future__ import annotations

import struct

from image_limits import damaged

_LOSSLESS_SIGNATURE = 0x2F


def read_webp_size(data: bytes) -> tuple[int, int]:
    """Return (width, height). Raises ImageRejected with the code not_an_image."""
    kind = data[12:16]
    try:
        if kind == b"VP8X":
            width, height = (int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
            return width + 1, height + 1
        if kind == b"VP8L" and data[20] == _LOSSLESS_SIGNATURE:
            (bits,) = struct.unpack_from("<I", data, 21)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
    except (struct.error, IndexError):
        pass  # truncated
    raise damaged()
