"""The design that this service replaces: FastAPI workers with TensorFlow inside, each with a model of its own.

The comparison is fair: the downloads of a call run concurrently, each call is one batch, and nothing blocks the event
loop. It decodes as one would write it with Pillow: the whole photo, as in the first service, and then a resize that
first reduces large photos cheaply. TensorFlow chooses its own number of threads. As a program it takes a port.
"""

from __future__ import annotations

import asyncio
import io
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np
import uvicorn
from fastapi import FastAPI
from PIL import Image
from pydantic import BaseModel

from tools.models.repository import image_size, labels_path, savedmodel_path

WORKERS = 4
READY_SIGN = "Application startup complete."  # uvicorn logs it once for each worker


class ClassifyRequest(BaseModel):
    images: list[str]
    k: int = 3


def create_app() -> FastAPI:
    """One worker's application; loads the model before it accepts a call."""
    os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")
    app = FastAPI(lifespan=_lifespan)

    @app.post("/")
    async def classify(body: ClassifyRequest) -> dict[str, Any]:
        started = time.perf_counter()
        files = await asyncio.gather(*(_download(app.state.session, url) for url in body.images))
        good = {url: file for url, file in zip(body.images, files, strict=True) if file is not None}
        rows = await asyncio.to_thread(app.state.predict, list(good.values()), body.k) if good else []
        return {
            "successful_results": dict(zip(good, rows, strict=True)),
            "failed_results": [url for url in body.images if url not in good],
            "time_taken": round(time.perf_counter() - started, 4),
            "errors": [],
        }

    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    import tensorflow as tf

    model = tf.saved_model.load(str(savedmodel_path()))
    signature = model.signatures["serving_default"]
    labels, (height, width) = labels_path().read_text(encoding="utf-8").splitlines(), image_size()

    def predict(files: list[bytes], k: int) -> list[list[dict[str, Any]]]:
        pixels = tf.constant(np.stack([_decode(file, (width, height)) for file in files]))
        rows = signature(pixels=pixels)["probabilities"].numpy()
        best = np.argsort(-rows, axis=1)[:, :k]
        return [
            [{"bird_name": labels[index], "score": float(row[index])} for index in indices]
            for row, indices in zip(rows, best, strict=True)
        ]

    app.state.model, app.state.predict = model, predict
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        app.state.session = session
        yield


def _decode(file: bytes, size: tuple[int, int]) -> np.ndarray:
    with Image.open(io.BytesIO(file)) as image:
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR, reducing_gap=2))


async def _download(session: aiohttp.ClientSession, url: str) -> bytes | None:
    try:
        async with session.get(url) as response:
            return await response.read() if response.status == 200 else None
    except (aiohttp.ClientError, asyncio.TimeoutError):
        return None


if __name__ == "__main__":
    uvicorn.run(
        f"{__spec__.name}:create_app",
        factory=True,
        workers=WORKERS,
        port=int(sys.argv[1]),
        access_log=False,
        timeout_worker_healthcheck=120,  # a worker that still imports TensorFlow does not answer
    )
