"""Walks the segments of a JPEG file and keeps only what the decoder needs.

The picture ends at its end marker: the video of a motion photo, a second picture or a camera's raw data behind it are
not part of it. Thumbnails, EXIF and other metadata are inside segments, which are skipped by their length.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

from exif_orientation import read_orientation
from image_limits import Damage, damaged, unsupported

END = b"\xff\xd9"
# Real progressive files have about 10 scans. Each scan may cost a pass over the whole image for a few bytes: a file of
# 300 kB with 300 scans of 50 MP took 10 s.
MAX_SCANS = 64
_MAX_SEGMENTS = 20_000
_MAX_PROFILE_BYTES = 1_000_000

# Inside compressed data, 0xff is followed by 0x00 or by a restart marker.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN, _TEMPORARY = 0xD8, 0xD9, 0xDA, 0x01
_APP0, _APP1, _APP2, _ADOBE, _COMMENT = 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_ARITHMETIC = {0xC9, 0xCA}
_LOSSLESS = {0xC3, 0xC7, 0xCB, 0xCF}
_HIERARCHICAL = {0xC5, 0xC6, 0xCD, 0xCE, 0xDE, 0xDF}
_JPEG_LS = 0xF7
_FRAMES = {_BASELINE, _EXTENDED, _PROGRESSIVE, *_ARITHMETIC, *_LOSSLESS, *_HIERARCHICAL, _JPEG_LS}
# Tables that the decoder needs: Huffman, arithmetic, quantization, number of lines, restart interval.
_TABLES = {0xC4, 0xCC, 0xDB, 0xDC, 0xDD}
_EXIF, _PROFILE = b"Exif\0\0", b"ICC_PROFILE\0"


@dataclass
class JpegFile:
    """What the segments say. `picture` is a JPEG file with the same pixels and no metadata."""

    width: int = 0
    height: int = 0
    components: list[int] = field(default_factory=list)
    is_progressive: bool = False
    is_arithmetic: bool = False
    scans: int = 0
    is_buffered: bool = False  # the decoder keeps every coefficient until it has read the last scan
    is_complete: bool = False  # the end marker is present
    has_all_coefficients: bool = False  # every component has a scan, read to its end, for each of its coefficients
    orientation: int = 1
    profile: bytes | None = None
    picture: bytes = b""
    damage: frozenset[Damage] = frozenset()


def read_jpeg(data: bytes) -> JpegFile:
    """Read the segments of a JPEG file. Raises ImageRejected with the codes not_an_image and unsupported_format."""
    return _Walk(data).run()


class _Walk:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._file = JpegFile()
        self._view = memoryview(data)  # copying a camera's file of several megabytes takes about a millisecond
        self._parts: list[bytes | memoryview] = [data[:2]]
        self._profile_parts: dict[int, bytes] = {}
        self._exif = b""
        self._bands: dict[int, set[int]] = {}  # coefficients that were read to the end, by component

    def run(self) -> JpegFile:
        offset = 2
        for _ in range(_MAX_SEGMENTS):
            found = _NEXT_MARKER.search(self._data, offset)
            if found is None:
                return self._finish()
            marker, offset = self._data[found.end() - 1], found.end()
            if marker == _END_OF_IMAGE:
                self._file.is_complete = True
                return self._finish()
            if marker == _START_OF_IMAGE:
                raise damaged()
            if marker != _TEMPORARY:
                offset = self._segment(marker, offset)
        raise damaged("the file is cut into too many pieces")

    def _segment(self, marker: int, offset: int) -> int:
        """Read the segment whose length field is at `offset`; return where it ends."""
        length = int.from_bytes(self._data[offset : offset + 2], "big")
        end = offset + length
        if length < 2 or end > len(self._data):
            if self._file.scans:  # cut inside a later segment: the scans before it may be enough
                return len(self._data)
            raise damaged()
        if marker == _START_OF_SCAN:
            return self._scan(offset, end)
        content = self._data[offset + 2 : end]
        if marker in _FRAMES:
            self._frame(marker, content)
        if marker in _FRAMES or marker in _TABLES or self._decides_colours(marker, content):
            self._parts.append(self._view[offset - 2 : end])
        elif marker == _APP1 and content.startswith(_EXIF) and not self._exif:
            self._exif = content
        elif marker == _APP2 and content.startswith(_PROFILE) and len(content) >= 14:
            self._profile_parts[content[12]] = content[14:]
        elif not (_APP0 <= marker <= _COMMENT):
            raise damaged()
        return end

    def _frame(self, marker: int, content: bytes) -> None:
        if marker in _LOSSLESS:
            raise unsupported("lossless JPEG")
        if marker in _HIERARCHICAL:
            raise unsupported("hierarchical JPEG")
        if marker == _JPEG_LS:
            raise unsupported("JPEG-LS")
        if self._file.components or len(content) < 6 or len(content) < 6 + 3 * content[5]:
            raise damaged()
        precision, height, width, count = struct.unpack_from(">BHHB", content)
        if precision != 8:
            raise unsupported(f"{precision}-bit JPEG")
        self._file.width, self._file.height = width, height
        self._file.components = [content[6 + 3 * index] for index in range(count)]
        self._file.is_progressive = marker in (_PROGRESSIVE, 0xCA)
        self._file.is_arithmetic = marker in _ARITHMETIC

    def _scan(self, offset: int, end: int) -> int:
        content = self._data[offset + 2 : end]
        components = self._file.components
        if not components or not content or len(content) < 4 + 2 * content[0]:
            raise damaged()
        self._file.scans += 1
        if self._file.scans > MAX_SCANS:
            raise unsupported(f"JPEG with more than {MAX_SCANS} scans")
        in_scan = [content[1 + 2 * index] for index in range(content[0])]
        if self._file.is_progressive or len(in_scan) < len(components):
            self._file.is_buffered = True
        found = _NEXT_MARKER.search(self._data, end)
        stop = found.start() if found else len(self._data)
        self._parts.append(self._view[offset - 2 : stop])
        if found:
            first, last = content[1 + 2 * len(in_scan)], content[2 + 2 * len(in_scan)]
            for component in in_scan:
                self._bands.setdefault(component, set()).update(range(first, min(last, 63) + 1))
        return stop

    @staticmethod
    def _decides_colours(marker: int, content: bytes) -> bool:
        """The decoder chooses the colour space by these two."""
        return (marker == _APP0 and content.startswith(b"JFIF")) or (marker == _ADOBE and content.startswith(b"Adobe"))

    def _finish(self) -> JpegFile:
        file = self._file
        if not file.scans or not file.width or not file.height:
            raise damaged()
        file.has_all_coefficients = all(len(self._bands.get(component, ())) == 64 for component in file.components)
        file.orientation = read_orientation(self._exif)
        profile = b"".join(self._profile_parts[number] for number in sorted(self._profile_parts))
        file.profile = profile if 0 < len(profile) <= _MAX_PROFILE_BYTES else None
        damage = {Damage.CUT_SHORT: not file.is_complete, Damage.METADATA_TOO_LARGE: len(profile) > _MAX_PROFILE_BYTES}
        file.damage = frozenset(kind for kind, is_present in damage.items() if is_present)
        # A baseline file without its end is decoded as far as it goes; see `bird_pixels`.
        if file.is_complete or (file.is_buffered and file.has_all_coefficients):
            self._parts.append(END)
        file.picture = b"".join(self._parts)
        return file
