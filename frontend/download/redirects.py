"""Whether a redirect may be followed, and where it leads. Every target is checked like a URL that a caller sent."""

from __future__ import annotations

import re
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from frontend.download.urls import MAX_LENGTH, parse_url
from frontend.errors import DownloadFailed, InvalidUrl

MAX_REDIRECTS = 5
_STATUSES = {301, 302, 303, 307, 308}
_C0_OR_SPACE = "".join(map(chr, range(0x21)))
_NOT_UTF8 = re.compile("[\udc80-\udcff]")


def redirect_target(base: URL, response: aiohttp.ClientResponse) -> URL | None:
    """Return the URL that `response` redirects to from `base`, or None if it is not a redirect. Raises DownloadFailed.

    The address behind the URL is checked when a connection is made to it (address_policy.py).
    """
    location = response.headers.get("Location")
    if response.status not in _STATUSES or not location:
        return None
    try:
        return join_redirect(base, location)
    except InvalidUrl as error:
        raise DownloadFailed(reason="redirect") from error


def join_redirect(base: URL, location: str) -> URL:
    """Return the URL that a redirect from `base` leads to. Raises InvalidUrl as parse_url does.

    `location` is the header's value as aiohttp decodes it: bytes that are not UTF-8 are lone surrogates. It is read as
    browsers read it (WHATWG URL): such bytes are encoded, tabs are dropped, and backslashes before the query are
    slashes.
    """
    if len(location) > MAX_LENGTH:
        raise InvalidUrl()
    encoded = _NOT_UTF8.sub(lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", location)
    encoded = encoded.strip(_C0_OR_SPACE).replace("\t", "")
    end = min((at for at in (encoded.find("?"), encoded.find("#")) if at >= 0), default=len(encoded))
    try:
        return parse_url(urljoin(str(base), encoded[:end].replace("\\", "/") + encoded[end:].replace("\\", "%5C")))
    except ValueError as error:
        raise InvalidUrl() from error
