"""Writes one version of the classifier: its SavedModel and its labels. The written SavedModel is then checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from placement import Device
from quantization import FILE as QUANTIZATION
from savedmodel_engines import EngineError, load_engine

from tools.models.repository import About, write_about
from tools.models.weights.classifier import INPUT, OUTPUT, Classifier, sample_batch, save

_AGREE_WITHIN = 0.01  # scores of the two engines; rounding alone stays far below
# Scores of the same image in another batch. Kernels add numbers up in an order that depends on the size of the batch:
# differences of 1e-6 in float32 and up to 1e-2 in bfloat16 were seen.
_STEADY_WITHIN = 0.02
_SUM_WITHIN = 1e-3

_Run: TypeAlias = Callable[[np.ndarray], np.ndarray]


def write_version(classifier: Classifier, directory: Path) -> None:
    """Write and check `directory` as a version folder: model.savedmodel, and labels.txt beside it.

    Raises ValueError if the written SavedModel does not answer with a score for each label, or answers the same image
    differently each time and the classifier does not allow that.
    """
    savedmodel = directory / "model.savedmodel"
    save(classifier, savedmodel)
    signature = tf.saved_model.load(str(savedmodel)).signatures["serving_default"]

    def run(pixels: np.ndarray) -> np.ndarray:
        rows: np.ndarray = signature(**{INPUT: tf.constant(pixels)})[OUTPUT].numpy()
        return rows

    rows = run(sample_batch(classifier.size))
    _check_rows(classifier, rows)
    change = _find_change(run, classifier.size, rows)
    if change and not classifier.allow_random:
        raise ValueError(f"{change} (to serve it all the same: --allow-random)")
    if change:
        print(f"Note: {change}. Its answers are not cached.", flush=True)
    engine = "tensorflow" if change else _best_engine(classifier, savedmodel, rows)
    published = datetime.now(timezone.utc).isoformat(timespec="seconds")
    about = About(classifier.source, *classifier.size, engine, published, random=change is not None)
    write_about(savedmodel, about)
    if classifier.quantization and engine == "openvino":
        _write_quantization(classifier.quantization, savedmodel)
    (directory / "labels.txt").write_text("".join(f"{label}\n" for label in classifier.labels), encoding="utf-8")


def _check_rows(classifier: Classifier, rows: np.ndarray) -> None:
    fits = rows.shape == (len(sample_batch((1, 1))), len(classifier.labels)) and bool(np.isfinite(rows).all())
    if fits and not classifier.multi_label:
        fits = bool(np.allclose(rows.sum(axis=1), 1, atol=_SUM_WITHIN))
    if not fits:
        raise ValueError(f"{classifier.source} does not answer with one score for each of its labels")


def _find_change(run: _Run, size: tuple[int, int], first: np.ndarray) -> str | None:
    """Return why the answer to an image is not always the same, or None.

    The same batch is tried again, then other batches. A model that tosses a coin for each image escapes notice with a
    probability of about 1 in 30,000: the coin has to fall the same way in all 15 tries of the picture.
    """
    batch = sample_batch(size)
    repeated = max(float(np.abs(run(batch) - first).max()) for _ in range(4))
    if not repeated <= _STEADY_WITHIN:
        return (
            f"the model answers the same images differently each time (scores differ by up to {repeated:.2f}). Keras "
            "leaves layers of random augmentation on when it exports a model: export it without them"
        )
    backwards = run(batch[::-1])[::-1]
    alone = np.concatenate([run(image[None]) for image in batch])
    copies = np.concatenate([run(np.concatenate([batch] * 4)) for _ in range(2)]).reshape(8, *first.shape)
    other = max(float(np.abs(rows - first).max()) for rows in (backwards, alone, *copies))
    if other <= _STEADY_WITHIN:
        return None
    return (
        f"the model's answer to an image depends on the images beside it in a batch, or on chance (scores differ by up "
        f"to {other:.2f}): export it for inference, without random augmentation and with batch normalization in "
        "inference mode"
    )


def _best_engine(classifier: Classifier, savedmodel: Path, by_tensorflow: np.ndarray) -> str:
    """Return OpenVINO if it loads the SavedModel and answers like TensorFlow, otherwise TensorFlow."""
    try:
        engine = load_engine("openvino", savedmodel, Device(threads=1))
        by_openvino = engine.run({INPUT: sample_batch(classifier.size)})[OUTPUT]
    except (EngineError, RuntimeError) as error:
        print(f"OpenVINO cannot run the model ({str(error).splitlines()[0]}): TensorFlow will.", flush=True)
        return "tensorflow"
    difference = float(np.abs(by_openvino - by_tensorflow).max())
    if not difference <= _AGREE_WITHIN:
        print(f"OpenVINO's answers differ from TensorFlow's by up to {difference:.3f}: TensorFlow will run the model.")
        return "tensorflow"
    return "openvino"


def _write_quantization(ranges: Mapping[str, Any], savedmodel: Path) -> None:
    """Raises ValueError if the ranges do not fit the graph: a mistake in rebuilding it."""
    (savedmodel / QUANTIZATION).write_text(json.dumps(ranges) + "\n", encoding="utf-8")
    try:
        load_engine("openvino", savedmodel, Device(threads=1), "int8")
    except EngineError as error:
        raise ValueError(str(error)) from error
