"""Serves the soak's images on the loopback interface. As a program it takes a port."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

from aiohttp import web

from tools.measure.soak.images import SLOW_SECONDS, files

_NEVER_SECONDS = 60


def main() -> None:
    content = files()

    async def answer(request: web.Request) -> web.StreamResponse:
        path = request.path
        if path == "/never.jpg":
            await asyncio.sleep(_NEVER_SECONDS)
        if path not in content:
            return web.Response(status=404)
        if not path.startswith("/slow/"):
            return web.Response(body=content[path], content_type="image/jpeg")
        response = web.StreamResponse(headers={"Content-Length": str(len(content[path]))})
        half = len(content[path]) // 2
        with suppress(ConnectionResetError):  # some clients hang up, as they are meant to
            await response.prepare(request)
            await response.write(content[path][:half])
            await asyncio.sleep(SLOW_SECONDS)
            await response.write(content[path][half:])
        return response

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, shutdown_timeout=0.1)


if __name__ == "__main__":
    main()
