"""Image files built to exhaust a decoder's memory or time, shared by the tests of every room that reads images."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import partial

from tests.support.images import RED, flat, jpeg_segment, png_chunk

SIDE = 65_535


def claiming(side: int, kind: str) -> bytes:
    """A small file whose header says that it is `side` × `side` pixels."""
    data = bytearray(flat(RED, kind, (16, 16)))
    if kind == "PNG":
        data[16:24] = struct.pack(">II", side, side)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif kind == "JPEG":
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", side, side)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", side, side)
    elif kind == "TIFF":
        directory = struct.unpack_from("<I", data, 4)[0]
        for entry in range(directory + 2, directory + 2 + 12 * struct.unpack_from("<H", data, directory)[0], 12):
            if struct.unpack_from("<H", data, entry)[0] in (256, 257):
                data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, side)
    elif kind == "AVIF":
        extent = data.index(b"ispe") + 8
        data[extent : extent + 8] = struct.pack(">II", side, side)
    return bytes(data)


def webp_claiming(side: int) -> bytes:
    """An extended WebP file whose canvas claims `side` × `side` pixels, but whose frame is small."""
    simple = flat(RED, "WEBP", (16, 16))
    size = (side - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x00\x00\x00\x00" + size + size + simple[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif_with_a_huge_frame() -> bytes:
    """A screen of one pixel with a first frame of 65,535².

    The frame asks to be cleared afterwards, so the decoder allocates its buffer when it opens the file.
    """
    control = b"\x21\xf9\x04\x08\x00\x00\x00\x00"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, SIDE, SIDE, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + control + frame + control + frame + b";"


# Each claims more pixels than any limit allows.
BOMBS: dict[str, Callable[[], bytes]] = {
    **{
        f"{kind} header of 65,535²": partial(claiming, SIDE, kind)
        for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "AVIF")
    },
    "WebP canvas of 16,384²": lambda: webp_claiming(16_384),
    "GIF frame of 65,535²": gif_with_a_huge_frame,
    "PNG of 50 MP and a column": lambda: flat(RED, "PNG", (5001, 10_000)),
}

# Each is cut into so many parts that parsing them costs more than decoding the picture.
SHREDDED: dict[str, Callable[[], bytes]] = {
    "GIF of tiny comments": lambda: flat(RED, "GIF")[:13] + b"\x21\xfe\x01a\x00" * 40_000,
    "JPEG of empty comments": lambda: b"\xff\xd8" + jpeg_segment(0xFE, b"") * 40_000 + flat(RED, "JPEG")[2:],
    "JPEG of tiny EXIF blocks": lambda: b"\xff\xd8" + jpeg_segment(0xE1, b"Exif\0\0a") * 40_000 + flat(RED, "JPEG")[2:],
    "JPEG of fill bytes": lambda: b"\xff\xd8" + b"\xff" * 100_000 + flat(RED, "JPEG")[2:],
    "PNG of empty chunks": lambda: flat(RED)[:33] + png_chunk(b"teSt", b"") * 40_000 + flat(RED)[33:],
    "PNG of empty image data": lambda: flat(RED)[:33] + png_chunk(b"IDAT", b"") * 40_000 + flat(RED)[33:],
}
