"""Removes secrets and control characters from text of outside origin before it is logged."""

from __future__ import annotations

import re

REDACTED = "[redacted]"

# Each URL up to the next space, including closing quotes and brackets, so that a long text is read only once.
_URL = re.compile(r"(\b[a-z][a-z0-9+.-]{0,15}://)(\S+)", re.IGNORECASE)
_TAIL = re.compile(r"([?#])")
_QUERY = re.compile(r"(\?[^\s?=]{1,64}=)\S+")  # of a path without a host
# Line breaks, and other characters that move a terminal's cursor or reverse the direction of the text.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def redact(text: str) -> str:
    """Return `text` without the secrets in its URLs: credentials, and everything after ? or #."""
    if "://" not in text and "?" not in text:  # most texts; the expressions took 5% of a refusal
        return text
    return _QUERY.sub(rf"\1{REDACTED}", _URL.sub(_redact_url, text))


def _redact_url(url: re.Match[str]) -> str:
    scheme, rest = url.groups()
    place, mark, _ = _TAIL.split(rest, maxsplit=1) if _TAIL.search(rest) else (rest, "", "")
    _, credentials, place = place.rpartition("@")
    return f"{scheme}{REDACTED if credentials else ''}{credentials}{place}{mark}{REDACTED if mark else ''}"


def on_one_line(text: str) -> str:
    """Return `text` with its control characters escaped, so that it cannot look like a separate line."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
