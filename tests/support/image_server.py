"""A real HTTP server with good and bad habits, on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from types import TracebackType

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ImageServer:
    """Serves files by path and behaviours by handler; counts requests by path and remembers their headers."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.files: dict[str, bytes] = {}
        self.handlers: dict[str, Handler] = {}
        self.requests: Counter[str] = Counter()
        self.headers: dict[str, dict[str, str]] = {}
        self.port = 0

    def url(self, path: str) -> str:
        return f"http://{self.host}:{self.port}{path}"

    def add(self, path: str, content: bytes | Handler) -> str:
        """Serve `content` at `path`; returns the URL."""
        if isinstance(content, bytes):
            self.files[path] = content
        else:
            self.handlers[path] = content
        return self.url(path)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path
        self.requests[path] += 1
        self.headers[path] = dict(request.headers)
        if path in self.handlers:
            return await self.handlers[path](request)
        if path in self.files:
            return web.Response(body=self.files[path], content_type="application/octet-stream")
        return web.Response(status=404)

    async def _serve(self, ready: threading.Event) -> None:
        self.loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        # A handler whose client goes away is cancelled, so that tests see which requests were cancelled.
        runner = web.AppRunner(self._application(), shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, self.host, 0)
        await site.start()
        self.port = runner.addresses[0][1]
        ready.set()
        await self._end.wait()
        await runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        return application

    def __enter__(self) -> ImageServer:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)))
        self._thread.start()
        ready.wait(10)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
