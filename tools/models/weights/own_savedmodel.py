"""A SavedModel of the user's own: its signature is found, and wrapped so that it takes uint8 pixels like the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tools.models.weights.classifier import Classifier, sample_batch
from tools.models.weights.labels import read_labels
from tools.models.weights.tf1_savedmodel import is_tf1, load_tf1

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as most of its models were trained
SCALES: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "0..255": lambda x: x,
    "0..1": lambda x: x / 255.0,
    "-1..1": lambda x: x / 127.5 - 1.0,
    "imagenet": lambda x: (x / 255.0 - _MEAN) / _DEVIATION,
}
# Names under which a classifier is exported, the likeliest first: Keras and TF Serving, then TF1 hub modules.
_SIGNATURES = ("serving_default", "serve", "image_classification", "image_classifier", "classify", "default")
_OUTPUTS = ("probabilities", "predictions", "softmax", "scores", "output_0", "default", "logits")
_NORMALIZED_WITHIN = 1e-3


class _Unfit(Exception):
    """A SavedModel that can be loaded but not served; the text goes on after its name."""


@dataclass(frozen=True)
class _Function:
    """The signature that is used: what to call, and the name and type of its one input."""

    call: Callable[..., Mapping[str, tf.Tensor]]
    input: str
    pixels: tf.TensorSpec
    loaded: object = None  # what holds the variables


def load(savedmodel: Path, labels_file: Path, scale: str | None, default_size: tuple[int, int]) -> Classifier:
    """Wrap `savedmodel`. `scale` is a key of SCALES and needed only for models that take floating-point pixels.

    `default_size`, (height, width), is for models that take images of any size. Raises ValueError, in one line, for
    what is no image classifier that can be served, or does not answer with a number for each of the labels.
    """
    labels = read_labels(labels_file)
    function = _load(savedmodel)
    size = _size(function.pixels, default_size)
    if function.pixels.dtype.is_floating and scale is None:
        raise ValueError(
            f"its input is {function.pixels.dtype.name}: say with --scale what range of values it was trained on "
            f"({', '.join(SCALES)})"
        )
    if scale and not function.pixels.dtype.is_floating:
        raise ValueError(f"its input is {function.pixels.dtype.name}, whole numbers from 0 to 255: leave out --scale")

    def outputs(batch: tf.Tensor) -> dict[str, tf.Tensor]:
        values = tf.cast(batch, function.pixels.dtype)
        return dict(function.call(**{function.input: SCALES[scale](values) if scale else values}))

    probe = _probe(outputs, size)
    name = _output(probe, len(labels), labels_file)

    def rows(batch: tf.Tensor) -> tf.Tensor:
        return tf.cast(outputs(batch)[name], tf.float32)

    if _are_probabilities(probe[name]):
        return Classifier(str(savedmodel), labels, size, rows, function.loaded)
    print(f"The output '{name}' holds no probabilities that sum to 1 for each image: a softmax is added.", flush=True)
    return Classifier(str(savedmodel), labels, size, lambda batch: tf.nn.softmax(rows(batch)), function.loaded)


def _load(savedmodel: Path) -> _Function:
    if not (savedmodel / "saved_model.pb").is_file():
        raise ValueError(f"{savedmodel} is no SavedModel that TensorFlow can load: it has no saved_model.pb")
    try:
        if is_tf1(savedmodel):
            call, inputs = load_tf1(savedmodel, _signature)
            return _Function(call, *_only(inputs))
        loaded = tf.saved_model.load(str(savedmodel))
        signature = loaded.signatures[_signature(loaded.signatures)]
        return _Function(signature, *_only(signature.structured_input_signature[1]), loaded)
    except _Unfit as error:
        raise ValueError(f"{savedmodel} {error}") from error
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise ValueError(f"{savedmodel} needs more memory than there is: {first_line(error)}") from error
    except (OSError, ValueError, RuntimeError, TypeError, AttributeError, KeyError, tf.errors.OpError) as error:
        if custom := re.search(r"Op type not registered '([\w>]+)'", str(error)):
            raise ValueError(
                f"{savedmodel} uses the operation {custom[1]}, which TensorFlow does not have: "
                "models with custom operations cannot be served"
            ) from error
        raise ValueError(f"{savedmodel} is no SavedModel that TensorFlow can load: {first_line(error)}") from error


def _signature(signatures: Mapping[str, Any]) -> str:
    known = [name for name in _SIGNATURES if name in signatures]
    if known or len(signatures) == 1:
        return (known or list(signatures))[0]
    there = f"only {', '.join(sorted(signatures))}" if signatures else "none at all"
    raise _Unfit(f"has no signature serving_default, but {there}: export it with one, as Keras' export() does")


def _only(inputs: Mapping[str, tf.TensorSpec]) -> tuple[str, tf.TensorSpec]:
    if len(inputs) != 1:
        raise _Unfit(f"has {len(inputs)} inputs ({', '.join(sorted(inputs))}), one is wanted")
    return next(iter(inputs.items()))


def _size(pixels: tf.TensorSpec, default: tuple[int, int]) -> tuple[int, int]:
    if pixels.dtype == tf.string:
        raise ValueError("its input is string, encoded images: export it for pixels, [n, height, width, 3]")
    if not pixels.dtype.is_floating and not pixels.dtype.is_integer:
        raise ValueError(f"its input is {pixels.dtype.name}, where pixels are wanted")
    if pixels.shape.rank is None:
        return default
    if pixels.shape.rank != 4 or pixels.shape[3] not in (3, None):
        raise ValueError(f"its input has shape {pixels.shape}, images arrive as [n, height, width, 3]")
    if pixels.shape[0] is not None:
        raise ValueError(f"its batch size is fixed at {pixels.shape[0]}: export it with None in its place")
    height, width = pixels.shape[1], pixels.shape[2]
    return (height or default[0], width or default[1])


def _probe(outputs: Callable[[tf.Tensor], dict[str, tf.Tensor]], size: tuple[int, int]) -> dict[str, np.ndarray]:
    """What the model answers on the sample batch."""
    try:
        return {name: value.numpy() for name, value in outputs(tf.constant(sample_batch(size))).items()}
    except tf.errors.ResourceExhaustedError as error:
        raise ValueError(f"it needs more memory than there is: {first_line(error)}") from error
    except (tf.errors.OpError, ValueError, TypeError) as error:
        raise ValueError(f"it fails on a batch of {len(sample_batch(size))} images: {first_line(error)}") from error


def _output(probe: dict[str, np.ndarray], labels: int, labels_file: Path) -> str:
    """The output to serve: the one with a number for each label, by its name if there are several."""
    batch = len(sample_batch((1, 1)))
    fitting = [name for name, values in probe.items() if values.shape == (batch, labels)]
    if not fitting:
        shapes = " and ".join(f"shape {list(values.shape)}" for values in probe.values())
        raise ValueError(f"{labels_file} has {labels} labels, the model answers with {shapes} to {batch} images")
    chosen: Sequence[str] = [name for name in _OUTPUTS if name in fitting] if len(fitting) > 1 else fitting
    if not chosen:
        raise ValueError(f"its outputs {', '.join(sorted(fitting))} all fit the labels: export it with one of them")
    if not np.isfinite(probe[chosen[0]].astype(np.float64)).all():
        raise ValueError(f"its output '{chosen[0]}' holds values that are no numbers (NaN or infinite)")
    return chosen[0]


def _are_probabilities(rows: np.ndarray) -> bool:
    values = rows.astype(np.float64)
    return bool((values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=_NORMALIZED_WITHIN))


def first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
