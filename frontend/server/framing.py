"""Which bytes of a connection are a request's headers, which are its body, and which are the next request.

A proxy in front puts requests of many clients on one connection. If it disagrees with this server about where a request
ends, one client can have its bytes read as a request of its own (request smuggling) and receive another's response.
llhttp, the parser under uvicorn, is strict about lengths and line ends. What uvicorn and httptools do around it is not,
and this module corrects that.
"""

from __future__ import annotations

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class LimitExceeded(httptools.HttpParserError):
    """Raised by the parser's callbacks to end the connection with a 400 response. The client gets the message."""


class FramingProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with these corrections:

    - An offered upgrade is declined, and the request is served as HTTP/1.1 with its body (RFC 9110, section 7.8).
      Without this, httptools ends the message after its headers, and uvicorn reads the body as the next request.
    - Trailers are dropped. uvicorn would append them to the request's headers, where they could pass for headers that
      a proxy sets or removes, such as X-Forwarded-For.
    - `Connection: close` in a trailer closes the connection after the response. llhttp ignores all bytes after such a
      trailer, so the next request on the connection would never be answered.
    - A request with `Expect: 100-continue` is the last one on its connection. When it is refused, the client may send
      its body or leave it out, so the server can't know what the next bytes are.
    - The 400 response to an invalid request never takes the place of another response, and a request never gets two
      responses. Where it would, the connection is closed instead.
    """

    _is_declining_upgrade = False
    _has_headers = False

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        rest = memoryview(data)
        try:
            while rest and not self.transport.is_closing():
                rest = self._parse(rest)
        except httptools.HttpParserError as error:
            refusal = error.__context__  # what a callback raised
            reason = str(refusal) if isinstance(refusal, LimitExceeded) else "Invalid HTTP request received."
            self.logger.warning(reason)
            self.send_400_response(reason)

    def _parse(self, data: memoryview) -> memoryview:
        """Parse `data` up to the end of the first headers that offer an upgrade. Returns the bytes after them."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._parse_without_upgrade()
            return data[upgrade.args[0] :]
        return data[:0]

    def _parse_without_upgrade(self) -> None:
        """Give the headers to a new parser, without the Upgrade header: httptools cannot decline an upgrade."""
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if method == b"CONNECT":
            raise httptools.HttpParserError("this server is not a proxy")
        lines = [b"%b %b HTTP/%b\r\n" % (method, self.url, version.encode())]
        lines += [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.parser.feed_data(b"".join([*lines, b"\r\n"]))

    def on_message_begin(self) -> None:
        self._has_headers = False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._has_headers = True
        self._is_declining_upgrade = self.parser.should_upgrade()
        if self._is_declining_upgrade:
            return
        super().on_headers_complete()
        if self.expect_100_continue:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        if self._is_declining_upgrade:
            return
        super().on_message_complete()
        if not self.parser.should_keep_alive():
            self.cycle.keep_alive = False
            if self.cycle.response_complete:
                self.transport.close()

    def send_400_response(self, msg: str) -> None:
        cycle = self.cycle
        if cycle is not None and cycle.more_body:  # the invalid bytes are in the body of this request
            is_next_response = not cycle.response_started
        else:  # they are in a request of which this server has no headers yet
            is_next_response = cycle is None or cycle.response_complete
        if is_next_response and not self.pipeline:
            super().send_400_response(msg)
        else:
            self.transport.close()
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True  # ends the work for this request
            cycle.message_event.set()
