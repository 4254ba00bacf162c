"""Per-request state that the middleware and the routes share: the caller, the deadline and the clean-up."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address

from anyio import current_time
from starlette.types import ASGIApp, Receive, Scope, Send

from frontend.middleware.rate_limit import RateLimit

_STATE_KEY = "request_context"
_IPV6_PREFIX = 64  # the smallest network that a provider gives to one customer


@dataclass
class RequestContext:
    """State of one request.

    `caller` is a stable name for the sender: `key:<digest>` with an API key, else `net:<network>`, an IPv4 address or
    an IPv6 /64. Everything that is shared fairly among callers (rate limit, slots, memory) uses this name.
    `deadline` is the time on the event loop's clock, in seconds, at which the request is answered even if it is not
    done. `exit_stack` is closed when the request ends, whether it succeeds, fails or is cancelled.
    """

    caller: str
    deadline: float
    exit_stack: ExitStack = field(default_factory=ExitStack)
    rate_limit: RateLimit | None = None

    @property
    def remaining_seconds(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(self.deadline - current_time(), 0)

    def charge(self, images: int) -> None:
        """Count `images` against the caller's rate limit.

        Raises RateLimited if the limit is used up, TooManyImages if the images exceed the limit by themselves.
        """
        if self.rate_limit is not None:
            self.rate_limit.charge(self.caller, images)


class RequestContextMiddleware:
    """ASGI middleware that creates the RequestContext of every request and closes its exit stack."""

    def __init__(self, app: ASGIApp, timeout_seconds: float, rate_limit: RateLimit | None) -> None:
        self._app = app
        self._timeout_seconds = timeout_seconds
        self._rate_limit = rate_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        address = scope["client"][0] if scope.get("client") else ""
        deadline = current_time() + self._timeout_seconds
        context = RequestContext(network_caller(address), deadline, rate_limit=self._rate_limit)
        scope.setdefault("state", {})[_STATE_KEY] = context
        with context.exit_stack:
            await self._app(scope, receive, send)


def request_context_of(scope: Scope) -> RequestContext:
    """The RequestContext of the request that has this ASGI scope."""
    context: RequestContext = scope["state"][_STATE_KEY]
    return context


@lru_cache(maxsize=4096)
def network_caller(address: str) -> str:
    """The caller's name for a client without an API key.

    Addresses of one IPv6 /64 are one caller, because one customer can use all of them.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return f"net:{address}"  # a Unix socket has no address
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is None:
            return f"net:{IPv6Network((int(ip), _IPV6_PREFIX), strict=False)}"
        ip = ip.ipv4_mapped
    return f"net:{ip}"
