"""Closes a connection so that the client can still read the response while it is sending its request's body."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

LINGER_SECONDS = 2.0
_MAX_STUCK_CHECKS = 30  # each after LINGER_SECONDS
MAX_DISCARDED_BYTES = 64_000_000  # four request bodies of the largest size, by default


class LingeringTransport:
    """A transport whose `close` first ends its sending side, then reads and discards what the client still sends.

    If the kernel closes a socket with unread bytes, it resets the connection, and the reset destroys a response that
    the client has not read yet (RFC 9112, section 9.6). nginx then answers 502 in its place.

    Discarding ends when the client closes the connection, MAX_DISCARDED_BYTES have arrived, or the response has left
    this process and at least LINGER_SECONDS have passed since. If `is_idle` returns true, `close` closes at once.

    If the client reads nothing for a minute, the connection is aborted. The protocol's send timer does not cover the
    last bytes of a response: below its low-water mark of 16 kB the transport counts as writable.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, is_idle: Callable[[], bool]
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._is_idle = is_idle
        self._is_flushed = False
        self._unsent_bytes = self._stuck_checks = 0
        self._discarded_bytes = 0
        self.is_lingering = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self.is_lingering:
            self._transport.write(data)

    def is_closing(self) -> bool:
        return self.is_lingering or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        if self._is_idle() and self._transport.get_write_buffer_size() == 0:
            self._transport.close()
            return
        self.is_lingering = True
        self._transport.resume_reading()
        self._transport.write_eof()
        self._loop.call_later(LINGER_SECONDS, self._close_when_flushed)

    def close_now(self) -> None:
        """Close without reading further. Data that is already written is still sent."""
        self._transport.close()

    def begin_request(self) -> None:
        """Count discarded bytes from zero: a proxy sends many requests over one connection."""
        self._discarded_bytes = 0

    def discard(self, size_bytes: int) -> None:
        """Count `size_bytes` that arrived and are not used. Beyond MAX_DISCARDED_BYTES the connection is aborted."""
        self._discarded_bytes += size_bytes
        if self._discarded_bytes > MAX_DISCARDED_BYTES:
            self._transport.abort()

    def _close_when_flushed(self) -> None:
        if self._transport.is_closing():
            return
        if self._is_flushed or self._stuck_checks == _MAX_STUCK_CHECKS:
            self._transport.abort()
            return
        unsent_bytes = self._transport.get_write_buffer_size()
        self._is_flushed = unsent_bytes == 0
        self._stuck_checks = self._stuck_checks + 1 if unsent_bytes == self._unsent_bytes else 0
        self._unsent_bytes = unsent_bytes
        self._loop.call_later(LINGER_SECONDS, self._close_when_flushed)
