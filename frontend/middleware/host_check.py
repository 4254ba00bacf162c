"""ASGI middleware that refuses requests for a host name that a stranger can choose.

A web page of a stranger can have its own name resolve to 127.0.0.1 (DNS rebinding). Its browser then takes this service
for a part of that page, which may send any request and read the answers. The Host header still has the stranger's name.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection
from ipaddress import ip_address

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from frontend.errors import HostNotAllowed, ServiceError

ANY = "*"
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::[0-9]*)?")
_SHOWN_CHARACTERS = 100


class HostCheckMiddleware:
    """Refuses requests whose Host header has none of the names in `allowed`, with the response that `refuse` gives.

    Names that nobody can have in public DNS are always allowed: IP addresses, `localhost`, and names without a dot. So
    are requests without a Host header, which no browser sends.
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


def _is_private_name(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return "." not in name or name.endswith(".localhost")
    return True
