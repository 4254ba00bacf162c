"""The head of another server's HTTP response, reduced to what a download needs.

Servers send heads that browsers and curl read and a strict parser refuses. Instead of making the parser lenient, this
module rewrites the head: the status and the few headers that are used. All other headers, however many or long, are
dropped. Pure functions.
"""

from __future__ import annotations

import re

_ENDS = (b"\n\r\n", b"\n\n")
_STATUS_LINE = re.compile(rb"HTTP/(\d\.\d)[ \t]+(\d{3})(?!\d)[^\r\n\0]*")
_USED_HEADERS = {
    b"connection",
    b"content-encoding",
    b"content-length",
    b"location",
    b"retry-after",
    b"transfer-encoding",
}


def end_of_head(data: bytes | bytearray, searched_bytes: int) -> int | None:
    """Return where the head in `data` ends, or None. An earlier search of the first `searched_bytes` found no end."""
    found = [(data.find(end, max(searched_bytes - 2, 0)), len(end)) for end in _ENDS]
    return min((start + length for start, length in found if start >= 0), default=None)


def is_interim(head: bytes | bytearray) -> bool:
    """Return whether another head follows this one: statuses 100 to 199, except 101."""
    status = _STATUS_LINE.match(head)
    return status is not None and status[2].startswith(b"1") and status[2] != b"101"


def rewritten_head(head: bytes) -> tuple[bytes, int | None]:
    """Return `head` with a plain status line and only the headers that are used, and the Content-Length or None.

    Raises ValueError if it is not the head of an HTTP response, or if its lengths contradict each other.
    """
    status_line, *lines = _unfolded_lines(head)
    status = _STATUS_LINE.fullmatch(status_line)
    if status is None or b"\0" in head:
        raise ValueError("not an HTTP response")
    headers: list[tuple[bytes, bytes]] = []
    for line in lines:
        name, colon, value = line.partition(b":")
        name = name.rstrip(b" \t").lower()
        if colon and name in _USED_HEADERS:
            headers.append((name, value.strip(b" \t")))
    version = b"HTTP/1.0" if status[1] == b"1.0" else b"HTTP/1.1"
    length = _content_length(headers)
    headers = [header for header in headers if header[0] != b"content-length"]
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    lines = [b"%s %s -" % (version, status[2]), *(b"%s: %s" % header for header in headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n", length


def _unfolded_lines(head: bytes) -> list[bytes]:
    """Split `head` into lines. A line that begins with white space continues the line before it."""
    lines: list[bytes] = []
    for line in head.rstrip(b"\r\n").split(b"\n"):
        line = line.rstrip(b"\r")
        if line.startswith((b" ", b"\t")) and len(lines) > 1:
            lines[-1] += b" " + line.strip(b" \t")
        else:
            lines.append(line)
    return lines


def _content_length(headers: list[tuple[bytes, bytes]]) -> int | None:
    """Return the one Content-Length, which may be repeated. A Transfer-Encoding overrides it (RFC 9112, 6.3)."""
    lists = [value for name, value in headers if name == b"content-length"]
    if not lists or any(name == b"transfer-encoding" for name, _ in headers):
        return None
    values = {part.strip(b" \t") for value in lists for part in value.split(b",")}
    if len(values) > 1 or not all(re.fullmatch(rb"[0-9]{1,18}", value) for value in values):
        raise ValueError("Content-Length is invalid or has several values")
    return int(values.pop())
