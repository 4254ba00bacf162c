"""Loads a SavedModel and chooses the signature that classifies images, its input and its outputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from tools.models.weights.first_line import first_line
from tools.models.weights.tf1_savedmodel import is_tf1, load_tf1

# Names under which a classifier is exported, the likeliest first: Keras and TF Serving, then TF1 hub modules.
_SIGNATURES = ("serving_default", "serve", "image_classification", "image_classifier", "classify", "default")


@dataclass(frozen=True)
class Signature:
    """One signature of a SavedModel: its one input, and a function to compute each output by name.

    `compute` runs the outputs that it is asked for, and no others where the graph allows it (TensorFlow 1).
    """

    compute: Callable[[tf.Tensor, tuple[str, ...]], Mapping[str, tf.Tensor]]
    pixels: tf.TensorSpec
    outputs: tuple[str, ...]
    loaded: object = None  # what holds the variables


class _Unfit(Exception):
    """A SavedModel that can be loaded but not served; the text continues a sentence that begins with its name."""


def load_signature(savedmodel: Path, shown: Path, name: str | None) -> Signature:
    """Load the signature `name`, or the likeliest one. `shown` is what the user calls the SavedModel.

    Raises ValueError in one line if it cannot be loaded, or does not have one input of pixels.
    """
    try:
        if is_tf1(savedmodel):
            return _of_tf1(savedmodel, name)
        return _of_tf2(savedmodel, name)
    except _Unfit as error:
        raise ValueError(f"{shown} {error}") from error
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise ValueError(f"{shown} needs more memory than there is: {first_line(error)}") from error
    except Exception as error:  # a damaged or hostile graph makes TensorFlow raise almost anything
        if custom := re.search(r"Op type not registered '([\w>]+)'", str(error)):
            raise ValueError(
                f"{shown} uses the operation {custom[1]}, which TensorFlow does not have: "
                "models with custom operations cannot be served"
            ) from error
        raise ValueError(f"{shown} is not a SavedModel that TensorFlow can load: {first_line(error)}") from error


def _of_tf2(savedmodel: Path, name: str | None) -> Signature:
    loaded = tf.saved_model.load(str(savedmodel))
    function = loaded.signatures[_choose(loaded.signatures, name)]
    input_name, pixels = _only(function.structured_input_signature[1])
    outputs = function.structured_outputs
    names = tuple(outputs) if isinstance(outputs, dict) else ()
    return Signature(lambda values, _: function(**{input_name: values}), pixels, names, loaded)


def _of_tf1(savedmodel: Path, name: str | None) -> Signature:
    graph = load_tf1(savedmodel, lambda signatures: _choose(signatures, name))
    input_name, pixels = _only(graph.inputs)

    def compute(values: tf.Tensor, outputs: tuple[str, ...]) -> Mapping[str, tf.Tensor]:
        return graph.function(input_name, outputs)(values)

    return Signature(compute, pixels, graph.output_names)


def _choose(signatures: Mapping[str, Any], name: str | None) -> str:
    available = sorted(key for key in signatures if not key.startswith("__"))
    if name is not None:
        if name in available:
            return name
        raise _Unfit(f"has no signature {name} (it has {', '.join(available) or 'none'})")
    known = [known for known in _SIGNATURES if known in available]
    if known or len(available) == 1:
        return (known or available)[0]
    if available:
        raise _Unfit(f"has no signature serving_default (it has {', '.join(available)}): choose one with --signature")
    raise _Unfit("has no signature: export it with one, as Keras' export() does")


def _only(inputs: Mapping[str, tf.TensorSpec]) -> tuple[str, tf.TensorSpec]:
    if len(inputs) != 1:
        raise _Unfit(f"has {len(inputs)} inputs ({', '.join(sorted(inputs))}), but must have one: the images")
    return next(iter(inputs.items()))
