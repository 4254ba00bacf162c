"""Decompresses bodies that a server compressed although the request did not allow it.

Output is produced in small pieces, so that a decompression bomb can be stopped.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

_GZIP = {"gzip", "x-gzip"}
_UNSUPPORTED = {"br", "zstd", "compress", "x-compress", "dcb", "dcz"}
_PIECE_BYTES = 65_536
_DECISIVE_BYTES = 12
# A compressed file is larger than its content by a thousandth at most. Endless empty blocks, or an endless file name,
# take time and produce no output.
_MAX_EXCESS_BYTES = 262_144
_IMAGE_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
_RAW_DEFLATE = -zlib.MAX_WBITS
_GZIP_WBITS = 16 + zlib.MAX_WBITS


class UnreadableCompressionError(Exception):
    """The body is compressed in a way that cannot be undone, or its compressed form is damaged."""


class BodyDecoder:
    """Decodes the body of one response. Whether it really is compressed is decided by its first bytes.

    Servers name things in Content-Encoding that are not compressions (`aws-chunked`, `UTF-8`, `image/jpeg`) and
    announce compressions that they did not apply.
    """

    def __init__(self, content_encoding: str) -> None:
        self._names = {name.strip() for name in content_encoding.lower().split(",")}
        self._start = b""  # held back until there are enough bytes to decide
        self._is_decided = False
        self._excess_bytes = 0  # compressed bytes read, minus bytes produced
        self._inflater: zlib._Decompress | None = None

    def decode(self, data: bytes, is_last: bool = False) -> Iterator[bytes]:
        """Yield the decoded form of the next `data` in pieces of at most 64 KiB.

        Raises UnreadableCompressionError, and EOFError if compressed data is missing at the end. What follows the end
        of the compressed data is ignored, as browsers do.
        """
        if not self._is_decided:
            data, self._start = self._start + data, b""
            if len(data) < _DECISIVE_BYTES and not is_last:
                self._start = data
                return
            self._is_decided = True
            self._inflater = self._inflater_for(data)
        if self._inflater is None:
            yield data
            return
        self._excess_bytes += len(data)
        while not self._inflater.eof:
            try:
                piece = self._inflater.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise UnreadableCompressionError from error
            data = self._inflater.unconsumed_tail
            self._excess_bytes -= len(piece)
            yield piece
            if not data and len(piece) < _PIECE_BYTES:  # zlib may hold more output than fits into a piece
                break
        if self._inflater.eof:
            return
        if self._excess_bytes > _MAX_EXCESS_BYTES:
            raise UnreadableCompressionError
        if is_last:
            raise EOFError

    def _inflater_for(self, start: bytes) -> zlib._Decompress | None:
        if start.startswith(_IMAGE_SIGNATURES) or start[4:8] == b"ftyp":
            return None
        if self._names & {*_GZIP, "deflate"} and start.startswith(b"\x1f\x8b"):
            return zlib.decompressobj(_GZIP_WBITS)
        if "deflate" in self._names and start:
            # RFC 9110 means zlib's format. Some servers send the bare deflate format, and browsers read both.
            is_zlib = start[0] & 0x0F == zlib.DEFLATED and int.from_bytes(start[:2], "big") % 31 == 0
            return zlib.decompressobj(zlib.MAX_WBITS if is_zlib else _RAW_DEFLATE)
        if self._names & _UNSUPPORTED:
            raise UnreadableCompressionError
        return None
