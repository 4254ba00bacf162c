"""Serves the endless supply of numbered photos on the loopback interface. As a program it takes a port."""

from __future__ import annotations

import sys

from aiohttp import web

from tools.measure.photos import load_photos, numbered_photo


def main() -> None:
    photos = load_photos()

    async def photo(request: web.Request) -> web.Response:
        return web.Response(body=numbered_photo(photos, int(request.match_info["number"])), content_type="image/jpeg")

    application = web.Application()
    application.router.add_get(r"/{number:\d+}.jpg", photo)
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
