"""aiohttp's client protocol with limits on all bytes of a response that are not its body.

aiohttp bounds bodies through flow control. It reads everything else (interim responses, chunk extensions, trailers) as
fast and for as long as it arrives: 16 servers that sent `103 Early Hints` without end took 2 GB of memory and
blocked the event loop for 18 s.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader

from frontend.download.response_head import end_of_head, is_interim, rewritten_head

MAX_HEAD_BYTES = 262_144  # as in Chrome; interim responses included
_MAX_INTERIM_HEADS = 100  # a server sends one or two
# The framing of a chunked body may have this many bytes plus this share of the body: chunks of 48 bytes or more pass.
_MAX_FRAMING_BYTES = 16_384
_MAX_FRAMING_RATIO = 1 / 8
# Bytes that are parsed between two checks of the limits, and the most that the parser holds back while the reader is
# busy. A body with a Content-Length has no framing, and is parsed as it arrives.
_SLICE_BYTES = 16_384


class ResponseFramingError(aiohttp.ClientError):
    """A response with too many bytes that are not its body."""


class BoundedResponseHandler(ResponseHandler):
    """Parses responses as aiohttp does, but each head first passes through `response_head`.

    It drops interim responses, cuts bodies at their Content-Length, and closes connections that send more than that.
    """

    _head: bytearray | None = None  # None outside a head
    _head_bytes = _interim_heads = 0
    _body_bytes = 0  # raw bytes after the head that the parser has received
    _waiting = b""  # bytes for the parser, which arrived while the reader of the body was busy
    _content_length: int | None = None

    def set_response_params(self, **parameters: Any) -> None:
        """Prepare for the response to the next request."""
        self._head, self._head_bytes, self._interim_heads = bytearray(), 0, 0
        self._body_bytes, self._waiting = 0, b""
        super().set_response_params(**parameters)

    def data_received(self, data: bytes) -> None:
        if not data:  # the reader is ready again, so the parser goes on
            self._receive(data)
        data = self._waiting + data
        position = 0
        while position < len(data) and not self._reading_paused and self._exception is None:
            end = len(data) if self._head is None and self._content_length is not None else position + _SLICE_BYTES
            self._receive(data[position:end])
            position = end
        self._waiting = data[position:] if self._exception is None else b""

    def connection_lost(self, exc: BaseException | None) -> None:
        self._waiting = b""
        if self._head and self._parser is not None:
            super().data_received(bytes(self._head))  # the parser finds what is wrong with an incomplete head
        super().connection_lost(exc)

    def _receive(self, data: bytes) -> None:
        if self._parser is None:
            super().data_received(data)  # it came before the request was sent
        elif self._head is None:
            self._receive_body(data)
        else:
            self._receive_head(data)

    def _receive_head(self, data: bytes) -> None:
        assert self._head is not None
        head: bytes | bytearray = self._head
        searched = len(head)
        self._head_bytes += len(data)
        if searched:
            head += data
        else:  # usually the head is complete, and `data` has much of the body too: do not copy it
            head = data.lstrip(b"\r\n")  # Chrome too skips an empty line before a response
        while (end := end_of_head(head, searched)) is not None and is_interim(head[:end]):
            head, searched = head[end:], 0
            self._interim_heads += 1
            if self._interim_heads > _MAX_INTERIM_HEADS:
                self._fail("too many interim responses")
                return
        if self._head_bytes - (0 if end is None else len(head) - end) > MAX_HEAD_BYTES:
            self._fail("the head of the response is too large")
        elif end is not None:
            self._finish_head(bytes(head[:end]), bytes(head[end:]))
        elif not b"HTTP/".startswith(bytes(head[:5])):
            self._fail("not an HTTP response")
        else:
            self._head = head if isinstance(head, bytearray) else bytearray(head)

    def _finish_head(self, head: bytes, rest: bytes) -> None:
        self._head = None
        try:
            rewritten, self._content_length = rewritten_head(head)
        except ValueError as error:
            self._fail(str(error))
            return
        super().data_received(rewritten)
        if rest:
            self._receive_body(rest)

    def _receive_body(self, data: bytes) -> None:
        payload = self._payload
        is_complete = payload is None or payload.is_eof()
        kept = data
        if self._content_length is not None:
            kept = data[: max(self._content_length - self._body_bytes, 0)]
        if not is_complete and (kept or not data):  # an empty `data` makes the parser go on after a pause
            self._body_bytes += len(kept)
            unread_heads = len(self)
            super().data_received(kept)
            if len(self) > unread_heads:
                self._drop_further_responses(unread_heads)
                return
            if self._exception is not None and payload is not None:  # aiohttp leaves the reader of the body waiting
                payload.set_exception(ResponseFramingError("invalid framing of the body"))
        if data and (is_complete or len(kept) < len(data)):
            self.force_close()  # excess bytes are ignored, as browsers do
            if self.transport is not None:
                self.transport.abort()
        elif payload is not None:
            self._check_framing(payload)

    def _drop_further_responses(self, unread_heads: int) -> None:
        """Forget what the parser took for another response after the last chunk. It would keep the rest as a body."""
        while len(self) > unread_heads:
            self._buffer.pop()
        self._payload = None
        self.force_close()
        if self.transport is not None:
            self.transport.abort()

    def _check_framing(self, payload: StreamReader) -> None:
        framing = self._body_bytes - payload.total_bytes
        limit = _MAX_FRAMING_BYTES + _MAX_FRAMING_RATIO * payload.total_bytes
        if framing > limit + (_SLICE_BYTES if self._reading_paused else 0):
            self._fail("the framing of the body is too large")

    def _fail(self, reason: str) -> None:
        payload, self._head, self._payload = self._payload, None, None
        if payload is not None:
            payload.set_exception(ResponseFramingError(reason))
        if self.transport is not None:
            self.transport.abort()
        self.set_exception(HttpProcessingError(code=400, message=reason))
        self._parser = None


def use_bounded_responses(connector: aiohttp.TCPConnector) -> aiohttp.TCPConnector:
    """Make `connector` create this protocol. aiohttp has no public setting for it; a test checks that it works."""
    loop = asyncio.get_running_loop()
    connector._factory = lambda: BoundedResponseHandler(loop)  # type: ignore[assignment]
    return connector
