"""The limit of the machine: decoding and inference in one bare process for each core, without any server."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from tools.measure.bench.engine_variant import EngineVariant
from tools.measure.bench.own_process import own_process
from tools.measure.decoding import decode, pixel_format
from tools.measure.photos import PHOTO, photos_of

_engine: Any = None  # set in each measuring process


class Limit:
    """One process for each core, with the engine on one thread; use as a context manager."""

    def __init__(self, variant: EngineVariant, savedmodel: Path) -> None:
        self.variant = variant
        self.processes = [own_process(_load_engine, variant, savedmodel) for _ in os.sched_getaffinity(0)]

    def __enter__(self) -> Limit:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.shutdown(cancel_futures=True)

    def images_per_second(self, seconds: float, batch: int, photos: str = PHOTO) -> float:
        """The throughput of all processes together, with `batch` images in each inference."""
        for ready in [process.submit(photos_of, photos) for process in self.processes]:
            ready.result()
        measured = [process.submit(_measure, seconds, batch, photos) for process in self.processes]
        return sum(speed.result() for speed in measured)


def _load_engine(variant: EngineVariant, savedmodel: Path) -> None:
    global _engine
    os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")  # no GPU, and no log lines of TensorFlow
    from placement import Device
    from savedmodel_engines import load_engine

    _engine = load_engine(variant.effective("engine"), savedmodel, Device(threads=1), variant.effective("precision"))


def _measure(seconds: float, batch: int, kind: str) -> float:
    photos, wanted = photos_of(kind), pixel_format()
    (name,) = _engine.inputs

    def infer(first: int) -> None:
        files = [photos[(first + index) % len(photos)] for index in range(batch)]
        _engine.run({name: np.stack([decode(file, wanted) for file in files])})

    infer(0)  # engines compile when they first see a shape
    images, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        infer(images)
        images += batch
    return images / passed
