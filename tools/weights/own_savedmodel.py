"""A SavedModel of the user's own: its signature is read and wrapped so that it takes uint8 pixels like the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from tools.weights.classifier import Classifier

SCALES: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "0..255": lambda x: x,
    "0..1": lambda x: x / 255.0,
    "-1..1": lambda x: x / 127.5 - 1.0,
}


def load(savedmodel: Path, labels_file: Path, scale: str | None, size: tuple[int, int]) -> Classifier:
    """Wrap `savedmodel`. `scale` is a key of SCALES and needed only for models that take floating-point pixels.

    `size` is the (height, width) that images arrive in. Raises ValueError, in one line, for a model that is no
    image classifier of that size or whose outputs do not match the labels.
    """
    labels = labels_file.read_text(encoding="utf-8").splitlines()
    try:
        loaded = tf.saved_model.load(str(savedmodel))
    except (OSError, tf.errors.OpError) as error:
        raise ValueError(f"{savedmodel} is no SavedModel that TensorFlow can load: {error}") from error
    signature = _signature(loaded, savedmodel)
    pixels = _only(signature.structured_input_signature[1], "input", savedmodel)
    _check_input(pixels, size, scale)
    _only(signature.structured_outputs, "output", savedmodel)
    input_name = next(iter(signature.structured_input_signature[1]))
    output_name = next(iter(signature.structured_outputs))

    def rows(batch: tf.Tensor) -> tf.Tensor:
        values = tf.cast(batch, pixels.dtype)
        if scale and pixels.dtype.is_floating:
            values = SCALES[scale](values)
        return tf.cast(signature(**{input_name: values})[output_name], tf.float32)

    probe = rows(tf.constant(np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8))).numpy()
    if probe.ndim != 2 or probe.shape[1] != len(labels):
        raise ValueError(f"{labels_file} has {len(labels)} labels, the model answers with shape {list(probe.shape)}")
    normalized = bool((probe >= 0).all() and np.allclose(probe.sum(axis=1), 1, atol=1e-3))
    if not normalized:
        print("The outputs are no probabilities; a softmax is added.")
    return Classifier(str(savedmodel), labels, size, rows if normalized else lambda x: tf.nn.softmax(rows(x)), loaded)


def _signature(loaded: object, savedmodel: Path):  # type: ignore[no-untyped-def]  # TensorFlow has no public type for it
    signatures = getattr(loaded, "signatures", {})
    if "serving_default" in signatures:
        return signatures["serving_default"]
    if len(signatures) == 1:
        return next(iter(signatures.values()))
    raise ValueError(f"{savedmodel} has no signature serving_default, but {sorted(signatures) or 'none at all'}")


def _only(tensors: dict[str, tf.TensorSpec], kind: str, savedmodel: Path) -> tf.TensorSpec:
    if len(tensors) != 1:
        raise ValueError(f"{savedmodel} has {len(tensors)} {kind}s ({', '.join(sorted(tensors))}), one is wanted")
    return next(iter(tensors.values()))


def _check_input(pixels: tf.TensorSpec, size: tuple[int, int], scale: str | None) -> None:
    if pixels.shape.rank != 4 or not pixels.shape.is_compatible_with([None, *size, 3]):
        raise ValueError(f"its input has shape {pixels.shape}, images arrive as [n, {size[0]}, {size[1]}, 3]")
    if pixels.dtype.is_floating and scale is None:
        raise ValueError(f"its input is {pixels.dtype.name}: say with --scale what range of values it was trained on")
