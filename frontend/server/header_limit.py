"""Headers, targets and trailers have a largest size: uvicorn's faster protocol would keep them without end."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEADER_BYTES = 65_536  # as of uvicorn's other protocol


class HeaderLimitProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which answers 400 and closes when more than MAX_HEADER_BYTES came amid headers.

    So it is amid the trailers of a chunked body. What counts are whole reads of the socket: the one in which headers
    begin may bring as much again.
    """

    _amid_headers = False
    _header_bytes = 0

    def data_received(self, data: bytes) -> None:
        if self._amid_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._header_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's headers are too large.")

    def on_message_begin(self) -> None:
        self._count_from_now(True)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._count_from_now(False)
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        self._count_from_now(True)  # of the last chunk, which is empty: trailers follow

    def on_body(self, body: bytes) -> None:
        self._count_from_now(False)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._count_from_now(False)
        super().on_message_complete()

    def _count_from_now(self, amid_headers: bool) -> None:
        self._amid_headers = amid_headers
        self._header_bytes = 0
