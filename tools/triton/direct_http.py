"""HTTP to services of this machine: never through a proxy, whatever http_proxy says. Standard library only.

A proxy cannot reach another machine's loopback, and would learn the control key.
"""

from __future__ import annotations

import urllib.request
from http.client import HTTPResponse

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def open_directly(request: urllib.request.Request | str, timeout_seconds: float) -> HTTPResponse:
    """Send `request` and return the response, to be closed. Raises like urllib.request.urlopen."""
    response: HTTPResponse = _opener.open(request, timeout=timeout_seconds)
    return response
