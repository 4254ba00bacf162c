"""ASGI middleware that refuses requests for a host name that a stranger can choose.

A stranger's web page can let its own host name resolve to 127.0.0.1 (DNS rebinding). The visitor's browser then treats
this service as that page's own server: the page may send any request and read the answers. The Host header still has
the stranger's name.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection
from functools import lru_cache
from ipaddress import ip_address

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from frontend.errors import HostNotAllowed, ServiceError

ANY = "*"
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::[0-9]*)?")
_SHOWN_CHARACTERS = 100


class HostCheckMiddleware:
    """Refuses requests whose Host header has a name that is not in `allowed`, with the response that `refuse` gives.

    Names that a stranger cannot register in DNS are always allowed: IP addresses, `localhost`, and names without a dot.
    Requests without a Host header are allowed too, because browsers always send one.
    """

    def __init__(
        self, app: ASGIApp, allowed: Collection[str], refuse: Callable[[Request, ServiceError], Awaitable[Response]]
    ) -> None:
        self._app = app
        self._allowed = {name.lower().removesuffix(".") for name in allowed}
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            for host in request.headers.getlist("host"):
                if not self._is_allowed(host):
                    response = await self._refuse(request, HostNotAllowed(host=host[:_SHOWN_CHARACTERS]))
                    await response(scope, receive, send)
                    return
        await self._app(scope, receive, send)

    def _is_allowed(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match[1].lower().removesuffix(".")
        return name in self._allowed or _is_private_name(name)


@lru_cache(maxsize=64)  # few, because a name can take 64 kB, the limit for all headers
def _is_private_name(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return "." not in name or name.endswith(".localhost")
    return True
