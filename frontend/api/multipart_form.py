"""Splits a multipart/form-data body into parts, and reads what their headers say. Clients disagree on these headers."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from multipart import MultipartSegment, PushMultipartParser

# A part without a file name is a file if it has one of these types. Other parts are text fields.
_FILE_TYPES = ("image/", "application/octet-stream")
_HEADER_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# The parser does not read this parameter. Some clients put its value in quotes.
_EXTENDED_FILE_NAME = re.compile(r';\s*filename\*\s*=\s*"?([^;"]*)', re.IGNORECASE)
# Some other charsets of Python decode to lone surrogates, which UTF-8 and so an answer cannot hold.
_EXTENDED_CHARSETS = ("utf-8", "iso-8859-1")


class FormParser(PushMultipartParser):  # type: ignore[misc]
    """A parser that accepts parts with bad headers, so that one bad part cannot fail the others.

    It decodes headers as Latin-1, which never fails; `file_name` then restores UTF-8. It ignores lines that are not
    headers, and the Content-Length of parts, which some clients compute wrongly: the boundary ends a part.
    """

    def __init__(self, boundary: str) -> None:
        super().__init__(boundary, header_charset="latin-1")

    def _on_segment_headerline(self, line: bytes) -> None:
        name, colon, _ = line.partition(b":")
        if not colon or not _HEADER_NAME.fullmatch(name.strip()) or name.strip().lower() == b"content-length":
            return
        super()._on_segment_headerline(line)

    def _create_segment(self, headerlist: list[tuple[str, str]]) -> MultipartSegment:
        return MultipartSegment(headerlist)


def field_name(part: MultipartSegment) -> str:
    """Return the name of the form field, or an empty string."""
    return _as_unicode(part.name or "")


def file_name(part: MultipartSegment) -> str | None:
    """Return the file name of a part, or None if the part is a text field.

    A file without a name is called `file`, and so is a part that does not say what it is. `filename*` (RFC 5987) takes
    precedence over `filename`, as in RFC 6266.
    """
    extended = _EXTENDED_FILE_NAME.search(part.header("Content-Disposition", ""))
    if extended and (name := _decode_extended(extended[1])):
        return name
    if part.filename is not None:
        return _as_unicode(part.filename)
    is_file = extended or part.disposition is None or (part.content_type or "").startswith(_FILE_TYPES)
    return "file" if is_file else None


def _as_unicode(text: str) -> str:
    """Decode text that the parser read as Latin-1: it is UTF-8 if that is possible, else Latin-1."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeDecodeError:
        return text


def _decode_extended(value: str) -> str | None:
    """Decode charset'language'percent-encoded-bytes (RFC 5987). Return None if it is invalid."""
    charset, _, rest = value.partition("'")
    _, _, encoded = rest.partition("'")
    if charset.lower() not in _EXTENDED_CHARSETS:
        return None
    try:
        return unquote_to_bytes(encoded).decode(charset) or None
    except UnicodeDecodeError:
        return None
