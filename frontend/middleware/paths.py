"""ASGI middleware that gives each resource one path, with or without a proxy's path in front or a slash at the end."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class PathMiddleware:
    """Removes `root_path` from the front of a request's path, and a trailing slash.

    Some proxies that serve the frontend below a path remove that path themselves, others do not; both work. Removing
    the slash makes Starlette's redirect from `/files/` to `/files` unnecessary: behind a proxy the server could only
    guess the address to redirect to.
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
