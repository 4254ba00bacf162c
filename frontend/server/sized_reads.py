"""How much one read of a connection takes: little before the application has seen a request, more of its body.

A read of the event loop takes up to 256 KiB, and one turn of the loop reads from all connections that are ready. So
3,000 requests with bodies that arrived together took 370 MB before the first of them could be refused.
"""

from __future__ import annotations

import asyncio

HEAD_READ_BYTES = 16_384  # almost all headers, together with most JSON bodies
BODY_READ_BYTES = 262_144  # as the event loop itself would read

# All connections share it, because what was read is copied before the next read.
_buffer = memoryview(bytearray(BODY_READ_BYTES))


class SizedReadProtocol(asyncio.Protocol):
    """A protocol that decides how much one read takes at most."""

    read_bytes = HEAD_READ_BYTES


class SizedReads(asyncio.BufferedProtocol):
    """The protocol that the event loop reads for. It passes everything on to `protocol`."""

    def __init__(self, protocol: SizedReadProtocol) -> None:
        self._protocol = protocol

    def get_buffer(self, sizehint: int) -> memoryview:
        return _buffer[: self._protocol.read_bytes]

    def buffer_updated(self, nbytes: int) -> None:
        self._protocol.data_received(bytes(_buffer[:nbytes]))

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)
