"""ASGI middleware that gives each resource one path, whatever a proxy in front adds and however a client writes it."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class PathMiddleware:
    """Removes `root_path` from the front of a request's path, and a trailing slash.

    Some proxies that serve the frontend below a path remove that path themselves, others do not; both work. Without
    the second rule `/files/` would be redirected to an address that the server can only guess behind a proxy.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path: str = scope["path"]
            if self._root_path and f"{path}/".startswith(f"{self._root_path}/"):
                path = path.removeprefix(self._root_path)
            scope["path"] = path.removesuffix("/") or "/"
        await self._app(scope, receive, send)
