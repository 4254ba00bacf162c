"""Time and size limits of a connection, so that clients that send or read slowly cannot exhaust the server."""

from __future__ import annotations

import asyncio

from frontend.api.schemas import MAX_SPECIES
from frontend.middleware.request_context import network_caller
from frontend.server.connection_limit import ConnectionShares
from frontend.server.framing import FramingProtocol, LimitExceeded
from frontend.server.lingering_close import LingeringTransport
from frontend.server.sized_reads import BODY_READ_BYTES, HEAD_READ_BYTES, SizedReadProtocol, SizedReads

# Maximum requests that a client may send before it gets a response. uvicorn queues all that have arrived: 20
# connections with 14,000 small requests each (5 MB in all) took 85 MB.
MAX_PIPELINED_REQUESTS = 20
MAX_HEADER_BYTES = 65_536  # h11's default, uvicorn's other parser
MAX_HEADER_FIELDS = 100  # as in Apache and HAProxy
# Enough for as many species as POST /files takes. FastAPI reads all of them for each route, 4 µs each.
MAX_QUERY_PARAMETERS = MAX_SPECIES + 10
# Maximum pieces (chunks or reads) in which a body may arrive, plus one more for each _PIECE_BYTES. Each piece costs
# 1 µs: four bodies in chunks of one byte delayed the answers to other clients by seconds.
MAX_PIECES = 20_000
_PIECE_BYTES = 48
RECEIVE_TIMEOUT_SECONDS = 10.0
SEND_TIMEOUT_SECONDS = 60.0

_connection_shares = ConnectionShares()


class SlowClientProtocol(FramingProtocol, SizedReadProtocol):
    """uvicorn's HTTP protocol with limits that uvicorn lacks:

    - The process holds at most `max_connections()` connections, which callers share. It closes further ones at once.
    - A request's headers must be complete `receive_timeout_seconds` after the connection was made or their first byte
      arrived. If the application responds before the body is complete, the rest of the body has the same time after
      the response.
    - At most MAX_PIPELINED_REQUESTS wait behind the current one.
    - Headers, target and trailers have at most MAX_HEADER_BYTES; uvicorn would collect them without end. The read of
      the socket in which headers begin does not count, so they can be larger by the size of one read.
    - There are at most MAX_HEADER_FIELDS and MAX_QUERY_PARAMETERS. Cookies are dropped: the service has none, but
      FastAPI would parse those of each request.
    - A body must not be cut into tiny chunks.
    - Before the application asks for a body, only HEAD_READ_BYTES of the request are read; then one read at a time.
    - While a response waits to be read, half of the waiting bytes must leave in every `send_timeout_seconds`. uvicorn
      would hold them forever, even after its own close().

    uvicorn's keep-alive limit applies between requests. The application's deadline applies while it reads a body.
    """

    receive_timeout_seconds = RECEIVE_TIMEOUT_SECONDS
    send_timeout_seconds = SEND_TIMEOUT_SECONDS
    _caller: str | None = None  # the caller that this connection counts for; None if it was refused
    _receive_timer: asyncio.TimerHandle | None = None
    _send_timer: asyncio.TimerHandle | None = None
    _has_received_nothing = True
    _in_headers = False
    _header_bytes = 0
    _pieces = _body_bytes = 0  # of the current body
    _is_new_request = False  # whether the last read had the headers of a request
    _lingering: LingeringTransport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.set_protocol(SizedReads(self))
        self._lingering = LingeringTransport(transport, self.loop, self._is_idle)
        super().connection_made(self._lingering)  # type: ignore[arg-type]
        caller = network_caller(self.client[0] if self.client else "")
        if _connection_shares.take(caller, len(self.connections) - 1):
            self._caller = caller
            self._start_receive_timer()
        else:
            if metrics := self.app_state.get("metrics"):
                metrics.count_refused_connection()
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_receive_timer()
        self._stop_send_timer()
        if self._caller is not None:
            _connection_shares.release(self._caller)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._has_received_nothing = False
        if self._lingering.is_lingering:
            self._lingering.discard(len(data))
            return
        if self._in_headers:
            self._header_bytes += len(data)
        self._is_new_request = False
        super().data_received(data)
        self._limit_read_ahead()
        if self._header_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's headers are too large.")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_send_timer()

    def resume_writing(self) -> None:
        self._stop_send_timer()
        super().resume_writing()

    def on_message_begin(self) -> None:
        self._lingering.begin_request()
        self._count_header_bytes(True)
        self._pieces = self._body_bytes = 0
        super().on_message_begin()
        if self._receive_timer is None:
            self._start_receive_timer()

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"cookie":
            return
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADER_FIELDS:
            raise LimitExceeded("The request has too many header fields.")

    def on_headers_complete(self) -> None:
        self._count_header_bytes(False)
        self._stop_receive_timer()
        if self.url.count(b"&") >= MAX_QUERY_PARAMETERS:
            raise LimitExceeded("The request has too many query parameters.")
        super().on_headers_complete()
        self._is_new_request = True
        if len(self.pipeline) > MAX_PIPELINED_REQUESTS:
            raise LimitExceeded("There are too many pipelined requests.")

    def on_chunk_header(self) -> None:
        self._count_header_bytes(True)  # trailers follow if this is the last chunk, which is empty

    def on_body(self, body: bytes) -> None:
        self._count_header_bytes(False)
        self._pieces += 1
        self._body_bytes += len(body)
        if self._pieces > MAX_PIECES + self._body_bytes // _PIECE_BYTES:
            raise LimitExceeded("The body is cut into too many pieces.")
        if self.cycle.response_complete:
            self._lingering.discard(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._count_header_bytes(False)
        self._stop_receive_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self._start_receive_timer()
            self.cycle.body.clear()  # nobody will read it
        super().on_response_complete()

    def _limit_read_ahead(self) -> None:
        """Stop reading an incomplete body until the application asks for more of it.

        After a read without any bytes of the body, the application may be waiting already: then reading goes on.
        """
        cycle = self.cycle
        is_body = cycle is not None and cycle.more_body
        self.read_bytes = BODY_READ_BYTES if is_body else HEAD_READ_BYTES
        has_news = is_body and (cycle.body or self._is_new_request)
        if has_news and not cycle.response_complete and not self.transport.is_closing():
            self.flow.pause_reading()

    def _is_idle(self) -> bool:
        """Whether the connection waits between two requests, or for its first one."""
        return self._has_received_nothing or self.timeout_keep_alive_task is not None

    def _count_header_bytes(self, in_headers: bool) -> None:
        self._in_headers = in_headers
        self._header_bytes = 0

    def _start_receive_timer(self) -> None:
        self._stop_receive_timer()
        self._receive_timer = self.loop.call_later(self.receive_timeout_seconds, self._lingering.close_now)

    def _stop_receive_timer(self) -> None:
        if self._receive_timer is not None:
            self._receive_timer.cancel()
            self._receive_timer = None

    def _start_send_timer(self) -> None:
        unread_bytes = self.transport.get_write_buffer_size()
        self._send_timer = self.loop.call_later(self.send_timeout_seconds, self._check_reader, unread_bytes)

    def _check_reader(self, unread_bytes_before: int) -> None:
        if self.transport.get_write_buffer_size() > unread_bytes_before / 2:
            self.transport.abort()
        else:
            self._start_send_timer()

    def _stop_send_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None
