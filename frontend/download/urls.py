"""Parses, checks and normalizes the URLs of images and of redirects. Pure functions."""

from __future__ import annotations

import re
import socket
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import quote, urlsplit

import idna
from yarl import URL

from frontend.errors import InvalidUrl, UrlScheme

MAX_LENGTH = 8192
_MAX_HOST_LENGTH = 254  # 253 and an optional final dot
_DEFAULT_PORTS = {"http": 80, "https": 443}
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")  # controls, and the backslash, which browsers read as a slash
_HOST = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_NUMERIC_LABEL = re.compile(r"(0x[0-9a-f]*|[0-9]+)")
_ASCII = "".join(map(chr, range(0x21, 0x7F)))


def parse_url(text: str) -> URL:
    """Return `text` as the URL to request: path and query as written, the host normalized.

    White space around it is ignored, and spaces inside path and query are encoded, as browsers do. Raises InvalidUrl
    for anything but an absolute http or https URL without credentials, and for more than 8,192 characters.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidUrl()
    text = text.strip()
    if _FORBIDDEN.search(text):
        raise InvalidUrl()
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:  # brackets without an address, a port that is not a number
        raise InvalidUrl() from error
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise UrlScheme()
    if not host or "@" in parts.netloc or port == 0:
        raise InvalidUrl()
    try:
        path, query = quote(parts.path, safe=_ASCII), quote(parts.query, safe=_ASCII)
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise InvalidUrl() from error
    return URL.build(
        scheme=scheme,
        host=_normalized(host, bracketed="[" in parts.netloc),
        port=port,
        path=path or "/",
        query_string=query,
        encoded=True,
    )


def _normalized(host: str, bracketed: bool) -> str:
    if len(host) > _MAX_HOST_LENGTH:  # before IDNA, whose cost grows with the square of the length
        raise InvalidUrl()
    if bracketed:
        if "%" in host:
            raise InvalidUrl()
        try:
            return f"[{IPv6Address(host)}]"
        except AddressValueError as error:
            raise InvalidUrl() from error
    try:
        # UTS 46 turns full-width digits, ideographic dots and other look-alikes into what they look like.
        name = host.lower() if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise InvalidUrl() from error
    if not _HOST.fullmatch(name) or len(name) > _MAX_HOST_LENGTH:
        raise InvalidUrl()
    return _canonical_ipv4(name) or name


def _canonical_ipv4(name: str) -> str | None:
    """Return `name` as the dotted quad that a resolver reads: 0x7f.1, 2130706433 and 0177.0.0.1 are 127.0.0.1."""
    bare = name.rstrip(".")
    if not _NUMERIC_LABEL.fullmatch(bare.rpartition(".")[2]):
        return None
    try:
        return str(IPv4Address(socket.inet_aton(bare)))
    except OSError as error:
        raise InvalidUrl() from error
