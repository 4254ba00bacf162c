"""Reads which pictures an AVIF or HEIC file holds, with the sizes that the file states. Decodes nothing.

Boxes: ISO/IEC 14496-12. Items and their properties: ISO/IEC 23008-12.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from image_limits import damaged, unsupported

_MAX_PARTS = 4096  # boxes of a container, items, and extents of all items; 256 tiles with transparency have 600
_MAX_PROPERTIES = 65_536  # of all items together; each takes 2 µs
_MAX_TRACKS = 8
_MAX_REUSE = 4  # how often all items together may use the bytes of the file

Size = tuple[int, int]
_Span = tuple[int, int]  # start and end of bytes of the file


@dataclass(frozen=True)
class Picture:
    """An item (a picture, transparency, tile, thumbnail or metadata), or the first frame of a track.

    `kind` is the item's type, such as av01, hvc1 or grid. `stated` are the sizes, width and height in pixels, that the
    file states for it, usually one.
    """

    kind: bytes
    stated: list[Size]
    file: bytes
    spans: list[_Span]

    @property
    def data(self) -> bytes:
        return b"".join(self.file[start:end] for start, end in self.spans)


def read_pictures(data: bytes) -> Iterator[Picture]:
    """Yield all items and tracks. Raises IndexError if a box ends too early, and ImageRejected."""
    file = (0, len(data))
    if _find(data, file, b"mini"):
        raise unsupported("HEIF with a minimized image box")
    yield from _items(data, _find(data, file, b"meta", skipped=4))
    tracks = [(start, end) for kind, start, end in _boxes(data, _find(data, file, b"moov")) if kind == b"trak"]
    _check_count(len(tracks), _MAX_TRACKS)
    for track in tracks:
        yield from _first_frame(data, track)


def read_number(data: bytes, position: int, size_bytes: int) -> int:
    """Return the big-endian number at `position`. Raises IndexError at the end of `data`."""
    if position + size_bytes > len(data):
        raise IndexError
    return int.from_bytes(data[position : position + size_bytes], "big")


def _items(data: bytes, meta: _Span | None) -> Iterator[Picture]:
    properties = _find(data, meta, b"iprp")
    kinds = [(kind, start) for kind, start, _ in _boxes(data, _find(data, properties, b"ipco"))]
    locations, associations = _locations(data, meta), _associations(data, properties)
    for item, kind in _types(data, meta):
        own = [kinds[index - 1] for index in associations[item] if 0 < index <= len(kinds)]
        stated = [_size(data, start + 4) for property_kind, start in own if property_kind == b"ispe"]
        yield Picture(kind, stated, data, locations.get(item, []))


def _first_frame(data: bytes, track: _Span) -> Iterator[Picture]:
    """Yield the first frame of a track. Pillow decodes an animation from its tracks."""
    header, table = _find(data, track, b"tkhd"), track
    for name in (b"mdia", b"minf", b"stbl"):
        table = _find(data, table, name) or (0, 0)
    sizes, descriptions = _find(data, table, b"stsz"), _find(data, table, b"stsd")
    if not header or not sizes or not descriptions:
        return
    width, height = _size(data, header[1] - 8)  # fixed-point numbers, 16.16
    # The bytes of every frame; if they differ, the common size is 0 and each frame has its own.
    common_size, first_size = read_number(data, sizes[0] + 4, 4), read_number(data, sizes[0] + 12, 4)
    # A track can have several descriptions; one for AV1 is enough.
    codec = b"av01" if b"av01" in data[slice(*descriptions)] else b""
    for name, offset_bytes in ((b"stco", 4), (b"co64", 8)):
        if chunks := _find(data, table, name):
            start = read_number(data, chunks[0] + 8, offset_bytes)
            yield Picture(codec, [(width >> 16, height >> 16)], data, [(start, start + (common_size or first_size))])


def _size(data: bytes, position: int) -> Size:
    return read_number(data, position, 4), read_number(data, position + 4, 4)


def _boxes(data: bytes, inside: _Span | None) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, end) of the contents of each box."""
    position, end = inside or (0, 0)
    for _ in range(_MAX_PARTS):
        if position + 8 > end:
            return
        size, start = read_number(data, position, 4), position + 8
        if size == 1:
            size, start = read_number(data, position + 8, 8), position + 16
        after = position + size if size else end  # 0: up to the end
        if after < start:
            return  # not a box; cameras append data of their own
        yield data[position + 4 : position + 8], start, min(after, end)
        position = after
    raise damaged("the file is cut into too many pieces")


def _find(data: bytes, inside: _Span | None, wanted: bytes, skipped: int = 0) -> _Span | None:
    """Return (start, end) of the contents of the only box of a kind, without `skipped` bytes of version and flags.

    Some decoders would use the first of two such boxes, others the last.
    """
    found = [(start + skipped, end) for kind, start, end in _boxes(data, inside) if kind == wanted]
    if len(found) > 1:
        raise damaged("a box that must be unique is there twice")
    return found[0] if found else None


def _types(data: bytes, meta: _Span | None) -> Iterator[tuple[int, bytes]]:
    """Yield each item with its type, from `iinf`."""
    box = _find(data, meta, b"iinf")
    if box is None:
        return
    count_bytes = 4 if read_number(data, box[0], 1) else 2
    for kind, start, _ in _boxes(data, (box[0] + 4 + count_bytes, box[1])):
        version = read_number(data, start, 1)
        if kind == b"infe" and version >= 2:  # older entries have no type
            id_bytes = 4 if version == 3 else 2
            type_at = start + 4 + id_bytes + 2
            yield read_number(data, start + 4, id_bytes), data[type_at : type_at + 4]


def _locations(data: bytes, meta: _Span | None) -> dict[int, list[_Span]]:
    """Return where the bytes of each item are, from `iloc`."""
    box, idat = _find(data, meta, b"iloc"), _find(data, meta, b"idat")
    if box is None:
        return {}
    reader = _Reader(data, box[0])
    version = reader.read(1)
    reader.read(3)
    offset_bytes, length_bytes = divmod(reader.read(1), 16)
    base_bytes, index_bytes = divmod(reader.read(1), 16)
    id_bytes = 4 if version == 2 else 2
    found: dict[int, list[_Span]] = {}
    extents = used_bytes = 0
    for _ in range(_check_count(reader.read(id_bytes))):
        item = reader.read(id_bytes)
        method = reader.read(2) & 15 if version else 0  # 0: in the file, 1: in `idat`, 2: in another item
        reader.read(2)
        base = reader.read(base_bytes) + (idat[0] if method and idat else 0)
        spans = []
        count = reader.read(2)
        extents = _check_count(extents + count)
        for _ in range(count):
            reader.read(index_bytes if version else 0)
            start = base + reader.read(offset_bytes)
            length = reader.read(length_bytes)
            spans.append((start, start + length if length else len(data)))
        size = sum(max(min(end, len(data)) - start, 0) for start, end in spans)
        used_bytes += size
        if size > len(data) or used_bytes > _MAX_REUSE * len(data):
            raise damaged("its items are larger than the file")
        found[item] = spans if method < 2 else []
    return found


def _associations(data: bytes, properties: _Span | None) -> dict[int, list[int]]:
    """Return the numbers of each item's properties, which count from 1, from every `ipma`.

    A file may have one `ipma` for each version and flags.
    """
    found: dict[int, list[int]] = defaultdict(list)
    total = 0
    for kind, start, _ in _boxes(data, properties):
        if kind != b"ipma":
            continue
        reader = _Reader(data, start)
        version, flags = reader.read(1), reader.read(3)
        index_bytes, mask = (2, 0x7FFF) if flags & 1 else (1, 0x7F)
        for _ in range(_check_count(reader.read(4))):
            item, count = reader.read(4 if version else 2), reader.read(1)
            total = _check_count(total + 1 + count, _MAX_PROPERTIES)
            found[item] += [reader.read(index_bytes) & mask for _ in range(count)]
    return found


def _check_count(count: int, most: int = _MAX_PARTS) -> int:
    if count > most:
        raise damaged("the file is cut into too many pieces")
    return count


class _Reader:
    """Reads big-endian numbers one after the other."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position

    def read(self, size_bytes: int) -> int:
        self._position += size_bytes
        return read_number(self._data, self._position - size_bytes, size_bytes)
