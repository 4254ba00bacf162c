"""Authentication: which API keys are accepted, and which paths need one. It happens before a body is read."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from frontend.errors import ServiceError, Unauthorized
from frontend.middleware.request_context import request_context_of

_KEY = re.compile(r"[\x21-\x7e]+")  # characters that a header can carry as one word
_SCHEME = "bearer"
# Every other path needs a key, paths that do not exist included.
_PUBLIC_PATHS = {
    "/docs",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/openapi.json",
}
_PUBLIC_FOLDER = "/static/"


class ApiKeys:
    """The accepted API keys, stored as SHA-256 digests. Without any keys, anyone can use the service."""

    def __init__(self, keys: Iterable[SecretStr]) -> None:
        self._digests = [hashlib.sha256(key.get_secret_value().encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def caller(self, authorization: str) -> str:
        """The caller's name for the key in an Authorization header. It does not reveal the key.

        Raises Unauthorized. The time that this takes reveals nothing about the keys: it always compares the digests of
        all keys, each in constant time.
        """
        scheme, _, key = authorization.partition(" ")
        digest = hashlib.sha256(key.strip().encode()).digest()
        matches = [hmac.compare_digest(digest, accepted) for accepted in self._digests]
        if scheme.lower() != _SCHEME or not any(matches):
            raise Unauthorized()
        return f"key:{digest.hex()}"

    def accept(self, authorization: str) -> bool:
        """Whether an Authorization header carries one of the keys."""
        try:
            self.caller(authorization)
        except Unauthorized:
            return False
        return True


class AuthMiddleware:
    """ASGI middleware that refuses requests without an accepted key, and callers that have used up their rate limit.

    `refuse` turns the error into the response. With an accepted key the request's `caller` becomes that key. Routes
    charge images later, when they know how many there are (RequestContext.charge).
    """

    def __init__(
        self, app: ASGIApp, keys: ApiKeys, refuse: Callable[[Request, ServiceError], Awaitable[Response]]
    ) -> None:
        self._app = app
        self._keys = keys
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_public(scope):
            request = Request(scope)
            try:
                self._check(request)
            except ServiceError as error:
                response = await self._refuse(request, error)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, request: Request) -> None:
        context = request_context_of(request.scope)
        if self._keys:
            context.caller = self._keys.caller(request.headers.get("authorization", ""))
        if context.rate_limit is not None:
            context.rate_limit.check(context.caller)


def _is_public(scope: Scope) -> bool:
    path: str = scope["path"]
    if path == "/":
        return bool(scope["method"] != "POST")
    return path in _PUBLIC_PATHS or path.startswith(_PUBLIC_FOLDER)


def check_key(key: SecretStr) -> SecretStr:
    """Return `key` if a header can carry it. Raises ValueError; the message does not contain the key."""
    if not _KEY.fullmatch(key.get_secret_value()):
        raise ValueError("a key must be one word of printable ASCII characters")
    return key


def keys_in_file(path: Path) -> list[SecretStr]:
    """The keys in a file with one key per line. Empty lines and lines that start with # are ignored.

    Raises ValueError if the file cannot be read or has no valid key.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ValueError(f"the file cannot be read: {reason}") from error
    keys = [check_key(SecretStr(line)) for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ValueError("the file contains no key")
    return keys
