"""An application that records what it receives, for tests of the server and of proxies."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send


@dataclass
class Recorder:
    """Answers each request with its path and body. Refuses `/refused` with 401 without reading the body."""

    requests: list[tuple[str, str, bytes]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        path = request.url.path
        self.headers.append(dict(request.headers))
        try:
            body = b"" if path == "/refused" else await request.body()
        except ClientDisconnect:
            return
        self.requests.append((request.method, path, body))
        status = 401 if path == "/refused" else 200
        await PlainTextResponse(path.encode() + b" " + body, status)(scope, receive, send)
