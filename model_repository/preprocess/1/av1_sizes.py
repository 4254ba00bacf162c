"""Compares the size that an AVIF file states with the size of its AV1 data, before anything is decoded.

All limits are checked against the size in the container: the `ispe` property of an image, or the header of a track. The
decoder uses the sequence header in the AV1 data. A file of 3,472 bytes stated 64 × 64 and decoded to 268 megapixels.

Boxes: ISO/IEC 14496-12. Items and their properties: ISO/IEC 23008-12. AV1 data: the AV1 bitstream specification, 5.3 to
5.5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from image_limits import damaged

_MAX_PARTS = 4096  # boxes, items and OBUs; a picture of 256 tiles with transparency has 600
_SUPERBLOCK = 128  # an encoder may round a size up to whole superblocks
_SEQUENCE_HEADER = 1

_Size = tuple[int, int]


def check_av1_sizes(data: bytes) -> None:
    """Refuse an AVIF file whose AV1 data is larger than the file states. Raises ImageRejected: not_an_image."""
    try:
        for stated, av1_data in (*_items(data), *_first_frames(data)):
            for size in _sequence_sizes(av1_data):
                if _superblocks(size[0]) > _superblocks(stated[0]) or _superblocks(size[1]) > _superblocks(stated[1]):
                    raise damaged(
                        f"the AV1 data is {size[0]} x {size[1]} pixels, but the file states {stated[0]} x {stated[1]}"
                    )
    except (struct.error, IndexError) as error:  # something ends too early
        raise damaged() from error


def _superblocks(pixels: int) -> int:
    return -(-pixels // _SUPERBLOCK)


def _items(data: bytes) -> Iterator[tuple[_Size, bytes]]:
    """Yield the stated size and the AV1 data of every item that has both: pictures, transparency, tiles, thumbnails."""
    meta = _find(data, (0, len(data)), b"meta", skipped=4)
    properties = _find(data, meta, b"iprp")
    kinds = [(kind, start) for kind, start, _ in _boxes(data, _find(data, properties, b"ipco"))]
    locations = _locations(data, meta)
    for item, indices in _associations(data, properties):
        own = [kinds[index - 1] for index in indices if 0 < index <= len(kinds)]
        stated = [struct.unpack_from(">II", data, start + 4) for kind, start in own if kind == b"ispe"]
        if stated and item in locations and b"av1C" in dict(own):
            yield stated[0], b"".join(data[start:end] for start, end in locations[item])


def _first_frames(data: bytes) -> Iterator[tuple[_Size, bytes]]:
    """Yield the stated size and the first frame of every track. Pillow decodes an animation from its tracks."""
    for kind, start, end in _boxes(data, _find(data, (0, len(data)), b"moov")):
        header = _find(data, (start, end), b"tkhd") if kind == b"trak" else None
        table = (start, end)
        for name in (b"mdia", b"minf", b"stbl"):
            table = _find(data, table, name) or (0, 0)
        sizes = _find(data, table, b"stsz")
        if not header or not sizes:
            continue
        width, height = struct.unpack_from(">II", data, header[1] - 8)  # fixed-point numbers, 16.16
        common_size, _, first_size = struct.unpack_from(">III", data, sizes[0] + 4)  # for all frames, or one for each
        for name, offset_bytes in ((b"stco", 4), (b"co64", 8)):
            if chunks := _find(data, table, name):
                offset = _number(data, chunks[0] + 8, offset_bytes)
                yield (width >> 16, height >> 16), data[offset : offset + (common_size or first_size)]


def _boxes(data: bytes, inside: tuple[int, int] | None) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, end) of the contents of each box."""
    position, end = inside or (0, 0)
    for _ in range(_MAX_PARTS):
        if position + 8 > end:
            return
        size, start = _number(data, position, 4), position + 8
        if size == 1:
            size, start = _number(data, position + 8, 8), position + 16
        after = position + size if size else end  # 0: up to the end
        if after < start:
            raise damaged()
        yield data[position + 4 : position + 8], start, min(after, end)
        position = after
    raise damaged("the file is cut into too many pieces")


def _find(data: bytes, inside: tuple[int, int] | None, wanted: bytes, skipped: int = 0) -> tuple[int, int] | None:
    """Return (start, end) of the contents of the first box of a kind, without `skipped` bytes of version and flags."""
    return next(((start + skipped, end) for kind, start, end in _boxes(data, inside) if kind == wanted), None)


def _locations(data: bytes, meta: tuple[int, int] | None) -> dict[int, list[tuple[int, int]]]:
    """Return where the bytes of each item are, from `iloc`: [(start, end), …]."""
    box, idat = _find(data, meta, b"iloc"), _find(data, meta, b"idat")
    if box is None:
        return {}
    reader = _Reader(data, box[0])
    version = reader.number(1)
    reader.number(3)
    offset_bytes, length_bytes = divmod(reader.number(1), 16)
    base_bytes, index_bytes = divmod(reader.number(1), 16)
    id_bytes = 4 if version == 2 else 2
    found: dict[int, list[tuple[int, int]]] = {}
    for _ in range(_checked(reader.number(id_bytes))):
        item = reader.number(id_bytes)
        is_in_idat = version > 0 and reader.number(2) & 15 == 1
        reader.number(2)
        base = reader.number(base_bytes) + (idat[0] if is_in_idat and idat else 0)
        extents = []
        for _ in range(_checked(reader.number(2))):
            reader.number(index_bytes if version else 0)
            start = base + reader.number(offset_bytes)
            length = reader.number(length_bytes)
            extents.append((start, start + length if length else len(data)))
        if sum(min(end, len(data)) - start for start, end in extents) > len(data):
            raise damaged("an item is larger than the file")
        found[item] = extents
    return found


def _associations(data: bytes, properties: tuple[int, int] | None) -> Iterator[tuple[int, list[int]]]:
    """Yield each item with the numbers of its properties, which count from 1, from every `ipma`.

    A file may have one `ipma` for each version and flags.
    """
    for kind, start, _ in _boxes(data, properties):
        if kind != b"ipma":
            continue
        reader = _Reader(data, start)
        version, flags = reader.number(1), reader.number(3)
        index_bytes, mask = (2, 0x7FFF) if flags & 1 else (1, 0x7F)
        for _ in range(_checked(reader.number(4))):
            item = reader.number(4 if version else 2)
            yield item, [reader.number(index_bytes) & mask for _ in range(reader.number(1))]


def _sequence_sizes(av1_data: bytes) -> Iterator[_Size]:
    """Yield the size in each sequence header of the OBUs (open bitstream units) in `av1_data`."""
    position = 0
    for _ in range(_MAX_PARTS):
        if position >= len(av1_data):
            return
        header = av1_data[position]
        kind, has_extension, has_size = header >> 3 & 15, header & 4, header & 2
        position += 2 if has_extension else 1
        size = len(av1_data) - position
        if has_size:
            size, position = _leb128(av1_data, position)
        if kind == _SEQUENCE_HEADER:
            yield _sequence_size(av1_data[position : position + size])
        position += size
    raise damaged("the file is cut into too many pieces")


def _leb128(data: bytes, position: int) -> tuple[int, int]:
    """Return the number at `position`, in the LEB128 encoding of seven bits per byte, and the position after it."""
    value = 0
    for index in range(8):
        byte = data[position + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, position + index + 1
    raise damaged()


def _sequence_size(payload: bytes) -> _Size:
    bits = _Bits(payload)
    bits.take(4)  # profile, still_picture
    if bits.take(1):  # reduced_still_picture_header
        bits.take(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.take(1):  # timing information
        bits.take(64)
        if bits.take(1):
            bits.skip_exponential_golomb()
        if bits.take(1):  # decoder model
            delay_bits = bits.take(5) + 1
            bits.take(32 + 5 + 5)
    has_display_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:  # the level
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if has_display_delay and bits.take(1):
            bits.take(4)


class _Reader:
    """Reads big-endian numbers one after the other."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position

    def number(self, size_bytes: int) -> int:
        self._position += size_bytes
        return _number(self._data, self._position - size_bytes, size_bytes)


class _Bits:
    """Reads numbers bit by bit. Raises IndexError at the end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data[:512], "big")  # 32 operating points take fewer
        self._left = 8 * min(len(data), 512)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise IndexError
        return self._value >> self._left & (1 << count) - 1

    def skip_exponential_golomb(self) -> None:
        zeros = 0
        while not self.take(1):
            zeros += 1
        if zeros < 32:
            self.take(zeros)


def _number(data: bytes, position: int, size_bytes: int) -> int:
    if position + size_bytes > len(data):
        raise IndexError
    return int.from_bytes(data[position : position + size_bytes], "big")


def _checked(count: int) -> int:
    if count > _MAX_PARTS:
        raise damaged("the file is cut into too many pieces")
    return count
