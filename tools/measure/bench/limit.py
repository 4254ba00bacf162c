"""The limit of the machine: decoding and inference in one bare process for each core, without any server.

As a program, with the names of a variant and of a SavedModel, it answers lines of JSON: {"seconds": 4, "batch": 8}
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from tools import ROOT
from tools.measure.bench.engine_variant import EngineVariant, parse_variant
from tools.measure.bench.worker import JsonWorker, answer_lines
from tools.measure.decoding import decode, pixel_format
from tools.measure.photos import load_photos

BATCHES = (1, 8)


class Limit:
    """One process for each core, with the engine on one thread; use as a context manager."""

    def __init__(self, variant: EngineVariant, savedmodel: Path) -> None:
        self.variant = variant
        self._workers = [JsonWorker(__name__, variant.name, str(savedmodel)) for _ in os.sched_getaffinity(0)]

    def __enter__(self) -> Limit:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.__exit__()

    def images_per_second(self, seconds: float, batch: int) -> float:
        """The throughput of all processes together, with `batch` images in each inference."""
        for worker in self._workers:
            worker.send({"seconds": seconds, "batch": batch})
        return float(sum(worker.receive() for worker in self._workers))


def _engine(variant: EngineVariant, savedmodel: Path) -> Any:
    sys.path.append(str(ROOT / "backends" / "tensorflow"))
    from placement import Device
    from savedmodel_engines import load_engine

    engine, precision = variant.effective("engine", "auto"), variant.effective("precision", "auto")
    return load_engine(engine, savedmodel, Device(threads=1), precision)


def main() -> None:
    os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")  # TensorFlow's notes are not ours
    engine = _engine(parse_variant(sys.argv[1]), Path(sys.argv[2]))
    photos, wanted = load_photos(), pixel_format()
    (name,) = engine.inputs

    def infer(first: int, batch: int) -> None:
        files = [photos[(first + index) % len(photos)] for index in range(batch)]
        engine.run({name: np.stack([decode(file, wanted) for file in files])})

    def answer(question: dict[str, Any]) -> float:
        batch, images = question["batch"], 0
        infer(0, batch)  # engines compile on the first sight of a shape
        started = time.perf_counter()
        while (passed := time.perf_counter() - started) < question["seconds"]:
            infer(images, batch)
            images += batch
        return images / passed

    answer_lines(answer)


if __name__ == "__main__":
    main()
