"""Connections that keep a process waiting are closed: headers that trickle in, what is left of a refused body, and
answers that are not read. So is one more than there is room for."""

from __future__ import annotations

import asyncio

from frontend.server.descriptors import most_connections
from frontend.server.header_limit import HeaderLimitProtocol

PATIENCE_SECONDS = 10.0
READER_PATIENCE_SECONDS = 60.0


class SlowClientProtocol(HeaderLimitProtocol):
    """uvicorn's HTTP protocol, which by itself waits for ever wherever a client owes it bytes before a request begins.

    The clock runs from the connection, or from the first byte of a later request, until its headers are complete; and
    from an answer until the body that it did not wait for has arrived. Between requests uvicorn's keep-alive limit
    holds; while a body is read, the application's deadline.

    While an answer waits to be read, half of it has to leave in every `reader_patience_seconds`: uvicorn would hold
    it for ever, after its own close() as well.
    """

    patience_seconds = PATIENCE_SECONDS
    reader_patience_seconds = READER_PATIENCE_SECONDS
    _clock: asyncio.TimerHandle | None = None
    _reader_clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > most_connections():
            transport.abort()
        else:
            self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        self._stop_reader_clock()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_reader_clock()

    def resume_writing(self) -> None:
        self._stop_reader_clock()
        super().resume_writing()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._clock is None:
            self._start_clock()

    def on_headers_complete(self) -> None:
        self._stop_clock()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._stop_clock()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.cycle.response_complete and self.cycle.more_body:
            self._start_clock()
        super().on_response_complete()

    def _start_clock(self) -> None:
        self._stop_clock()
        self._clock = self.loop.call_later(self.patience_seconds, self.transport.close)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _start_reader_clock(self) -> None:
        unread = self.transport.get_write_buffer_size()
        self._reader_clock = self.loop.call_later(self.reader_patience_seconds, self._judge_reader, unread)

    def _judge_reader(self, unread_before: int) -> None:
        if self.transport.get_write_buffer_size() > unread_before / 2:
            self.transport.abort()
        else:
            self._start_reader_clock()

    def _stop_reader_clock(self) -> None:
        if self._reader_clock is not None:
            self._reader_clock.cancel()
            self._reader_clock = None
