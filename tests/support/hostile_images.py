"""Image files built to exhaust a decoder's memory or time, shared by the tests of every room that reads images."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable
from functools import partial

from PIL import Image

from tests.support.images import RED, encoded, flat, jpeg_segment, png_chunk

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
    "PNG of 50 MP and a column": lambda: encoded(Image.new("1", (5001, 10_000)), "PNG"),
}

# Each is cut into so many parts that parsing them costs more than decoding the picture.
SHREDDED: dict[str, Callable[[], bytes]] = {
    "GIF of tiny comments": lambda: flat(RED, "GIF")[:13] + b"\x21\xfe\x01a\x00" * 40_000,
    "JPEG of empty comments": lambda: b"\xff\xd8" + jpeg_segment(0xFE, b"") * 40_000 + flat(RED, "JPEG")[2:],
    "JPEG of tiny EXIF blocks": lambda: b"\xff\xd8" + jpeg_segment(0xE1, b"Exif\0\0a") * 40_000 + flat(RED, "JPEG")[2:],
    "PNG of empty chunks": lambda: flat(RED)[:33] + png_chunk(b"teSt", b"") * 40_000 + flat(RED)[33:],
    "PNG of empty image data": lambda: flat(RED)[:33] + png_chunk(b"IDAT", b"") * 40_000 + flat(RED)[33:],
}


def bmp_row_of_zeros(pixels: int = 50_000_000) -> bytes:
    """A run-length encoded BMP of one row that ends after its first pixel.

    Pillow fills the row one byte at a time, in Python and with its global lock held: 5 s for 50 million pixels.
    """
    palette = bytes(256 * 4)
    body = b"\x01\x07\x00\x00\x00\x01"
    offset = 14 + 40 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, pixels, 1, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + header + palette + body


# A grey picture of 16,384² that says it is 64 × 64: an AVIF's size is in its container, and again in its first frame.
_SMALL_AVIF_OF_268_MEGAPIXELS = (
    "c-muNV30{GsVqn=%S>Yc0uY^>nP!-qnF!*)%uOvxWPkw0jFg-rD4U@mGr5ET4e%9YmgIt2j6f`xnUkLk;<$kLj1W;qUIqsCoj|rm"
    "W@cU*T&)z4lgb3;C6*Z&I_Kx)gYC-5EGQ}f(w><G$@xH9B(u066>6UY6a($8$OLQV01`ZjWrog;@-iR+;pF_BqP*ms3ZS{X3~UWR"
    "A@R(DT$qo5&SGI?YGwht>0oY3Vu=s~7q|TP`v3p`E@P77bue1aFCl0+)1j#nsKWC6xxfzse-EXmPkUzTyP)kS_Y3hwU#@3tPjn8w"
    "WY4>RmHWyix6jG@mV{+bv`b33$mV*aj&n(r=so33>+|O#YJ%scM=4KcIi0%i%&FcyW|@fpeld4C%~g073DqV>gz7Mhm4*gcA9yCu"
    "{POv=n6RU!jtf@GtnxG%)jX<sRP(6jQO%>8hqY!(^a23Fvw%?"
)


def small_avif_of_268_megapixels() -> bytes:
    return zlib.decompress(base64.b85decode(_SMALL_AVIF_OF_268_MEGAPIXELS))
