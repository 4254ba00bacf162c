"""HTTP to services of this machine: never through a proxy, whatever http_proxy says. Standard library only.

A proxy on another machine cannot reach the loopback interface of this one, and it would learn the control key.
"""

from __future__ import annotations

import os
import urllib.request
from http.client import HTTPResponse

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def open_directly(request: urllib.request.Request | str, timeout_seconds: float) -> HTTPResponse:
    """Send `request` and return the response, to be closed. Raises like urllib.request.urlopen."""
    response: HTTPResponse = _opener.open(request, timeout=timeout_seconds)
    return response


def environment_without_proxies() -> dict[str, str]:
    """Return this process's environment for a program that talks to services of this machine."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
