"""A frontend for tests of its clients: it answers as the real one does, without a Triton."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from tests.support.image_server import ImageServer

BIRD = {"bird_name": "Rubra maxima", "common_name": "Great Red", "score": 0.97}
DAMAGED = b"damaged"  # the content of a file that is not an image
_SECOND = {"bird_name": "Viridis minor", "common_name": None, "score": 0.02}


class FakeFrontend(ImageServer):
    """Streams one line for each uploaded file or URL: BIRD, or `not_an_image` for DAMAGED."""

    def __init__(self) -> None:
        super().__init__()
        self.add("/", self._classify_urls)
        self.add("/files", self._classify_files)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        return await self.handlers[request.path](request)  # the query may differ

    async def _classify_urls(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        lines = [_line(url, b"", body.get("k", 3)) for url in body["images"]]
        return await _stream(request, lines)

    async def _classify_files(self, request: web.Request) -> web.StreamResponse:
        k = int(request.query.get("k", "3"))
        lines = []
        async for part in await request.multipart():
            lines.append(_line(str(part.filename), await part.read(), k))  # type: ignore[union-attr]
        return await _stream(request, lines)


def _line(name: str, content: bytes, k: int) -> dict[str, Any]:
    if content == DAMAGED:
        message = "The file is not an image, or it is damaged"
        return {"url": name, "failure": {"code": "not_an_image", "message": message}}
    return {"url": name, "model_version": "1", "predictions": [BIRD, _SECOND][:k]}


async def _stream(request: web.Request, lines: list[dict[str, Any]]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    for line in [*lines, {"succeeded": len(lines), "failed": 0, "status": 200, "errors": []}]:
        await response.write(json.dumps(line).encode() + b"\n")
    return response
