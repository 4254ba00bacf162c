"""A model of the user's own, wrapped so that it takes uint8 pixels and answers with scores, as the others do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from tools.models.options import SCALES, OwnModel
from tools.models.weights.classifier import Classifier, sample_batch
from tools.models.weights.first_line import first_line
from tools.models.weights.labels import read_labels
from tools.models.weights.model_files import find_savedmodel
from tools.models.weights.preprocessing import scale_pixels
from tools.models.weights.scores import scores_of
from tools.models.weights.signature import Signature, load_signature

# Computes the outputs with these names for a batch of pixels.
_Outputs: TypeAlias = Callable[[tf.Tensor, tuple[str, ...]], dict[str, tf.Tensor]]
# Names of outputs that hold the classes, the likeliest first.
_OUTPUTS = ("probabilities", "predictions", "softmax", "scores", "output_0", "default", "logits")


def load(model: OwnModel, default_size: tuple[int, int], scratch: Path) -> Classifier:
    """Load and wrap `model`. Files that it is unpacked or exported to go into the folder `scratch`.

    `default_size`, (height, width), is for models that take images of any size. Raises ValueError, in one line, if it
    is not an image classifier that can be served, or does not answer with a number for each of the labels.
    """
    labels = read_labels(model.labels, model.allow_duplicates)
    signature = load_signature(find_savedmodel(model.path, scratch), model.path, model.signature)
    size = _size(signature.pixels, model.size, default_size)
    _check_scale(signature.pixels.dtype, model)

    def outputs(batch: tf.Tensor, names: tuple[str, ...]) -> dict[str, tf.Tensor]:
        values = scale_pixels(batch, signature.pixels.dtype, model.scale, model.mean, model.std)
        return dict(signature.compute(values, names))

    name, rows = _choose_output(signature, outputs, size, model, len(labels))
    scores = scores_of(rows, model.output, model.multi_label)
    if scores.note:
        print(f"{scores.note} (output '{name}'; --output says otherwise)", flush=True)
    return Classifier(
        str(model.path),
        labels,
        size,
        lambda batch: scores.convert(outputs(batch, (name,))[name]),
        signature.loaded,
        multi_label=scores.multi_label,
        allow_random=model.allow_random,
    )


def _check_scale(dtype: tf.DType, model: OwnModel) -> None:
    if dtype == tf.int8:
        raise ValueError(
            "its input is int8, which cannot hold pixels from 0 to 255: export it with a uint8 or floating-point input"
        )
    if dtype.is_floating and model.scale is None:
        raise ValueError(
            f"its input is {dtype.name}: say with --scale what range of values it was trained on ({', '.join(SCALES)})"
        )
    if model.scale and not dtype.is_floating:
        raise ValueError(f"its input is {dtype.name}, whole numbers from 0 to 255: leave out --scale")


def _size(pixels: tf.TensorSpec, stated: tuple[int, int] | None, default: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) of the images to send; `stated` has to agree with the model."""
    if pixels.dtype == tf.string:
        raise ValueError("its input is string, encoded images: export it for pixels, [n, height, width, 3]")
    if not pixels.dtype.is_floating and not pixels.dtype.is_integer:
        raise ValueError(f"its input is {pixels.dtype.name}, but must be pixels: uint8 or floating-point")
    shape = pixels.shape
    if shape.rank is not None:
        if shape.rank == 4 and shape[1] == 3 and shape[3] not in (3, None):
            raise ValueError(f"its input has shape {shape}, channels first: export it as [n, height, width, 3]")
        if shape.rank != 4 or shape[3] not in (3, None):
            raise ValueError(f"its input has shape {shape}, images arrive as [n, height, width, 3]")
        if shape[0] is not None:
            raise ValueError(f"its batch size is fixed at {shape[0]}: export it with None in its place")
    fixed = (shape[1], shape[2]) if shape.rank == 4 else (None, None)
    if stated is None and None in fixed:
        print(
            f"It takes images of any size: they will be resized to {fixed[0] or default[0]}x{fixed[1] or default[1]}. "
            "If it was trained on another size, publish it with --size",
            flush=True,
        )
    wanted = stated or default
    size = (fixed[0] or wanted[0], fixed[1] or wanted[1])
    if stated and size != stated:
        raise ValueError(f"its images are {size[0]}x{size[1]} and cannot be {stated[0]}x{stated[1]}, as --size says")
    return size


def _choose_output(
    signature: Signature, outputs: _Outputs, size: tuple[int, int], model: OwnModel, labels: int
) -> tuple[str, np.ndarray]:
    """Choose the output with one number for each label. Returns its name and its answers to the sample batch.

    If several fit, --output-name decides, or a name that classifiers usually give to this output.
    """
    if model.output_name is not None and model.output_name not in signature.outputs:
        raise ValueError(f"it has no output {model.output_name} (it has {', '.join(sorted(signature.outputs))})")
    names = (model.output_name,) if model.output_name is not None else signature.outputs
    probes = _probe(outputs, names, size)
    batch = len(sample_batch((1, 1)))
    fitting = [name for name, rows in probes.items() if rows.shape == (batch, labels)]
    if not fitting:
        shapes = " and ".join(f"shape {list(rows.shape)}" for rows in probes.values())
        raise ValueError(f"{model.labels} has {labels} labels, the model answers with {shapes} to {batch} images")
    known = [name for name in _OUTPUTS if name in fitting]
    if len(fitting) > 1 and not known:
        raise ValueError(f"its outputs {', '.join(sorted(fitting))} all fit the labels: choose one with --output-name")
    name = fitting[0] if len(fitting) == 1 else known[0]
    rows = probes[name]
    if not np.isfinite(rows.astype(np.float64)).all():
        raise ValueError(f"its output '{name}' holds values that are not numbers (NaN or infinite)")
    return name, rows


def _probe(outputs: _Outputs, names: tuple[str, ...], size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return the answers to the sample batch by output. Each of `names` is computed alone, so that one may fail.

    Raises ValueError if all fail, or if none is an output of numbers.
    """
    batch = tf.constant(sample_batch(size))
    answers: dict[str, np.ndarray] = {}
    problem: Exception | None = None
    for name in names:
        try:
            value = outputs(batch, (name,))[name]
            if isinstance(value, tf.Tensor) and (value.dtype.is_floating or value.dtype.is_integer):
                answers[name] = value.numpy()
        except tf.errors.ResourceExhaustedError as error:
            raise ValueError(f"it needs more memory than there is: {first_line(error)}") from error
        except (tf.errors.OpError, ValueError, TypeError, KeyError) as error:
            problem = error
    if not answers and problem is not None:
        raise ValueError(f"it fails on a batch of {len(batch)} images: {first_line(problem)}") from problem
    if not answers:
        raise ValueError("it has no output of numbers")
    return answers
