"""Reads from an ELF file the names of the shared libraries that it is linked to (DT_NEEDED)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_STRTAB = 1, 5


def needed_libraries(path: Path) -> list[str]:
    """Return the names in the order of the file. Raises ValueError for anything but a 64-bit little-endian ELF file."""
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{path} is not a 64-bit little-endian ELF file")
    segments = list(_segments(data))
    entries: list[tuple[int, int]] = []
    for kind, offset, _, size in segments:
        if kind == _PT_DYNAMIC:
            entries = list(struct.iter_unpack("<qQ", data[offset : offset + size]))
    if not entries:
        return []
    names_address = dict(entries)[_DT_STRTAB]
    names = next(
        offset + names_address - address
        for kind, offset, address, size in segments
        if kind == _PT_LOAD and address <= names_address < address + size
    )
    return [
        data[names + value : data.index(b"\0", names + value)].decode() for tag, value in entries if tag == _DT_NEEDED
    ]


def _segments(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield (type, offset in the file, address in memory, size in the file) of each program header."""
    (table,) = struct.unpack_from("<Q", data, 32)
    entry_size, count = struct.unpack_from("<HH", data, 54)
    for index in range(count):
        kind, _, offset, address, _, size = struct.unpack_from("<IIQQQQ", data, table + index * entry_size)
        yield kind, offset, address, size
