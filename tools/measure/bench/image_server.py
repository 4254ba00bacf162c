"""Serves the endless supplies of numbered photos on the loopback interface. As a program it takes a port."""

from __future__ import annotations

import sys

from aiohttp import web

from tools.measure.photos import PHOTOS, numbered_photo, photos_of


def main() -> None:
    photos = {kind: photos_of(kind) for kind in PHOTOS}

    async def photo(request: web.Request) -> web.Response:
        kind, number = request.match_info["kind"], int(request.match_info["number"])
        return web.Response(body=numbered_photo(photos[kind], number), content_type="image/jpeg")

    application = web.Application()
    application.router.add_get(rf"/{{kind:{'|'.join(PHOTOS)}}}/{{number:\d+}}.jpg", photo)
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
