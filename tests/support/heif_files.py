"""Makes AVIF and HEIC files whose boxes and data contradict each other."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from functools import cache

import pillow_heif
from PIL import Image

_ALPHA = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"


@dataclass(frozen=True)
class Item:
    """An item with its `ispe` and other properties. `made_of` are the numbers, from 1, of the items that it shows."""

    kind: bytes
    data: bytes
    properties: list[bytes]
    made_of: list[int] = field(default_factory=list)
    transparency_of: int = 0


def box(kind: bytes, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def size(width: int, height: int) -> bytes:
    return box(b"ispe", struct.pack(">III", 0, width, height))


def heif_file(brand: bytes, items: list[Item]) -> bytes:
    """Return a file of `items`; the first one is the picture."""
    beginning = box(b"ftyp", brand, bytes(4), b"mif1", brand, b"miaf")
    meta = _meta(items, 0)
    meta = _meta(items, len(beginning) + len(meta) + 8)
    return beginning + meta + box(b"mdat", *(item.data for item in items))


def picture(kind: bytes, side: int, stated: tuple[int, int] | None = None, transparency_of: int = 0) -> Item:
    """Return an item of av01 or hvc1 data of `side` × `side` grey pixels, with another stated size on request."""
    data = _encoded(kind, side)
    coded = data[data.index(b"mdat") + 4 :]
    at = data.index(b"av1C" if kind == b"av01" else b"hvcC") - 4
    configuration = data[at : at + int.from_bytes(data[at : at + 4], "big")]
    properties = [size(*(stated or (side, side))), configuration, box(b"pixi", bytes(4), b"\1\x08")]
    if transparency_of:
        properties.append(box(b"auxC", bytes(4), _ALPHA))
    return Item(kind, coded, properties, transparency_of=transparency_of)


def grid(rows: int, columns: int, output: tuple[int, int], stated: tuple[int, int], tiles: list[int]) -> Item:
    data = struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, *output)
    return Item(b"grid", data, [size(*stated), box(b"pixi", bytes(4), b"\1\x08")], tiles)


def overlay(output: tuple[int, int], stated: tuple[int, int], items: list[int]) -> Item:
    data = struct.pack(">BB8xII", 0, 1, *output) + bytes(8) * len(items)
    return Item(b"iovl", data, [size(*stated)], items)


@cache
def _encoded(kind: bytes, side: int) -> bytes:
    file = io.BytesIO()
    image = Image.new("L", (side, side), 99)
    if kind == b"av01":
        image.save(file, "AVIF", speed=10)
    else:
        pillow_heif.from_pillow(image).save(file, format="HEIF", quality=10)
    return file.getvalue()


def _meta(items: list[Item], data_starts_at: int) -> bytes:
    entries, locations, associations, references = [], [], [], []
    properties: list[bytes] = []
    for number, item in enumerate(items, 1):
        entries.append(box(b"infe", struct.pack(">IHH4sB", 2 << 24, number, 0, item.kind, 0)))
        locations.append(struct.pack(">HHHII", number, 0, 1, data_starts_at, len(item.data)))
        data_starts_at += len(item.data)
        own = range(len(properties) + 1, len(properties) + 1 + len(item.properties))
        properties += item.properties
        associations.append(struct.pack(">HB", number, len(own)) + bytes(own))
        if item.made_of:
            references.append(_reference(b"dimg", number, item.made_of))
        if item.transparency_of:
            references.append(_reference(b"auxl", number, [item.transparency_of]))
    return box(
        b"meta",
        bytes(4),
        box(b"hdlr", bytes(8), b"pict", bytes(13)),
        box(b"pitm", bytes(4), struct.pack(">H", 1)),
        box(b"iinf", bytes(4), struct.pack(">H", len(items)), *entries),
        box(b"iref", bytes(4), *references),
        box(b"iprp", box(b"ipco", *properties), box(b"ipma", bytes(4), struct.pack(">I", len(items)), *associations)),
        box(b"iloc", bytes(4), b"\x44\x00", struct.pack(">H", len(items)), *locations),
    )


def _reference(kind: bytes, number: int, to: list[int]) -> bytes:
    return box(kind, struct.pack(f">HH{len(to)}H", number, len(to), *to))
