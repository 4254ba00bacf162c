"""A frontend for tests of its clients: it answers as the real one does, without a Triton."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from tests.support.image_server import ImageServer

BIRD = {"bird_name": "Rubra maxima", "common_name": "Great Red", "score": 0.97}
NOT_SURE_BELOW = 0.4
# Contents of files that get special answers. The answer to any other content is BIRD.
DAMAGED, DOUBTFUL, NO_BIRD = b"damaged", b"doubtful", b"no bird"
_SECOND = {"bird_name": "Viridis minor", "common_name": None, "score": 0.02}
_BEST = {
    DOUBTFUL: {"bird_name": "Caerulea", "common_name": "Blue", "score": 0.39},
    NO_BIRD: {"bird_name": "background", "common_name": None, "score": 0.2},
}


class FakeFrontend(ImageServer):
    """Streams one line for each uploaded file or URL: BIRD, or what its content asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.add("/", self._classify_urls)
        self.add("/files", self._classify_files)
        self.add("/models", self._models)
        self.add("/species", self._species)

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
            lines.append(_line(str(part.filename), bytes(await part.read()), k))  # type: ignore[union-attr]
        return await _stream(request, lines)

    async def _models(self, _: web.Request) -> web.StreamResponse:
        versions = [{"version": "1", "default": True, "source": "fake"}]
        return web.json_response({"default": "1", "versions": versions, "not_sure_below": NOT_SURE_BELOW})

    async def _species(self, _: web.Request) -> web.StreamResponse:
        known = [BIRD, _SECOND, _BEST[DOUBTFUL]]
        return web.json_response({"model_version": "1", "species": known, "errors": []})


def _line(name: str, content: bytes, k: int) -> dict[str, Any]:
    if content == DAMAGED:
        message = "The file is not an image, or it is damaged"
        return {"url": name, "failure": {"code": "not_an_image", "message": message}}
    line = {"url": name, "model_version": "1", "predictions": [_BEST.get(content, BIRD), _SECOND][:k]}
    return line | ({"no_bird": True} if content == NO_BIRD else {})


async def _stream(request: web.Request, lines: list[dict[str, Any]]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    for line in [*lines, {"succeeded": len(lines), "failed": 0, "status": 200, "errors": []}]:
        await response.write(json.dumps(line).encode() + b"\n")
    return response
