"""What every source of weights yields: a TensorFlow function from pixels to scores, with labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

# The signature that model_repository/classifier/config.pbtxt declares.
INPUT = "pixels"
OUTPUT = "probabilities"


@dataclass(frozen=True)
class Classifier:
    """An image classifier ready to be written as a SavedModel.

    `predict` takes uint8 RGB pixels `[n, height, width, 3]` and returns float32 rows `[n, len(labels)]` of scores from
    0 to 1; each row sums to 1 unless the classifier is `multi_label`. `size` is (height, width). `allow_random`
    accepts a classifier that answers the same image differently each time.
    """

    source: str
    labels: Sequence[str]
    size: tuple[int, int]
    predict: Callable[[tf.Tensor], tf.Tensor]
    tracked: object = None  # a loaded SavedModel whose variables `predict` reads
    quantization: Mapping[str, Any] | None = None  # the ranges of its values, as backends/tensorflow reads them
    multi_label: bool = False
    allow_random: bool = False


def save(classifier: Classifier, directory: Path) -> None:
    """Write `directory` as a SavedModel with the one signature `serving_default`."""
    height, width = classifier.size
    module = tf.Module()
    module.tracked = classifier.tracked

    def predict(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {OUTPUT: tf.ensure_shape(classifier.predict(pixels), [None, len(classifier.labels)])}

    pixels = tf.TensorSpec([None, height, width, 3], tf.uint8, name=INPUT)
    module.serving_default = tf.function(predict, input_signature=[pixels])
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.serving_default})


def sample_batch(size: tuple[int, int]) -> np.ndarray:
    """Four images, uint8 `[4, height, width, 3]`, always the same: black, white, noise, and a picture.

    The picture differs from its own mirror images, rotations and crops, so that random augmentation shows.
    """
    height, width = size
    noise = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype=np.uint8)
    picture = np.zeros((1, *size, 3), np.uint8)
    picture[..., 0] = np.linspace(0, 255, width, dtype=np.uint8)
    picture[..., 1] = np.linspace(255, 30, height, dtype=np.uint8)[:, None]
    picture[:, : height // 2, : width // 2, 2] = 220
    return np.concatenate([np.zeros((1, *size, 3), np.uint8), np.full((1, *size, 3), 255, np.uint8), noise, picture])
