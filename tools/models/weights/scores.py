"""Finds out what kind of numbers a model's output holds, and converts them to scores from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tools.models.options import OutputKind

Convert = Callable[[tf.Tensor], tf.Tensor]
_SUM_TOLERANCE = 1e-3  # of 32-bit probabilities
_STATED_TOLERANCE = 0.05  # of outputs that the user says are probabilities, such as a softmax rounded on the way
_QUANTIZED_SUMS = (255.0, 256.0)


@dataclass(frozen=True)
class Scores:
    """How rows become scores, and what the user is told about it. `multi_label` rows do not sum to 1."""

    convert: Convert
    note: str | None = None
    multi_label: bool = False


def scores_of(rows: np.ndarray, stated: OutputKind | None, multi_label: bool) -> Scores:
    """Decide from `rows` `[n, labels]`, the model's answers to sample images, and from what the user stated.

    Raises ValueError if the rows contradict the statement, or if they could be more than one kind.
    """
    values = rows.astype(np.float64)
    if stated is None:
        return _recognize(rows, values, multi_label)
    if stated == "logits":
        return _logits(multi_label, None)
    if stated == "percent":
        _require_range(values, 100.0, stated)
        return _normalized(values / 100.0, stated, multi_label, 100.0)
    if stated == "scores":
        _require_range(values, 1.0, stated)
        return Scores(_as_float, multi_label=True)
    _require_range(values, 1.0 + _STATED_TOLERANCE, stated)
    return _normalized(values, stated, multi_label, 1.0)


def _recognize(rows: np.ndarray, values: np.ndarray, multi_label: bool) -> Scores:
    if _within(values, 1.0):
        if multi_label:
            return Scores(_as_float, multi_label=True)
        if _sums_to(values, 1.0, _tolerance(rows)):
            return Scores(_divide_by_sum)
        raise ValueError(
            f"its output holds values from 0 to 1 that do not sum to 1 for each image (but to {_sums(values)}): if "
            "each label is scored by itself, as with a sigmoid, say --multi-label; for logits, say --output logits"
        )
    if not multi_label and _within(values, 100.0) and _sums_to(values, 100.0, 1.0):
        return Scores(_divide_by_sum, "The output holds percentages: they are divided by their sum.")
    if not multi_label and _is_quantized(values, rows.dtype == np.uint8):
        return Scores(_divide_by_sum, "The output holds probabilities in 8 bits: they are divided by their sum.")
    return _logits(multi_label, "The output holds logits, not probabilities")


def _logits(multi_label: bool, reason: str | None) -> Scores:
    function = "sigmoid" if multi_label else "softmax"
    note = f"{reason}: a {function} is added." if reason else None
    if multi_label:
        return Scores(lambda rows: tf.sigmoid(_as_float(rows)), note, multi_label=True)
    return Scores(lambda rows: tf.nn.softmax(_as_float(rows)), note)


def _normalized(values: np.ndarray, stated: str, multi_label: bool, unit: float) -> Scores:
    if multi_label:
        return Scores(lambda rows: _as_float(rows) / unit, multi_label=True)
    if not _sums_to(values, 1.0, _STATED_TOLERANCE):
        raise ValueError(
            f"its output is stated to be {stated}, but an image's values sum to {_sums(values * unit)}: say "
            "--multi-label if each label is scored by itself, or another --output"
        )
    return Scores(_divide_by_sum)


def _require_range(values: np.ndarray, highest: float, stated: str) -> None:
    if not _within(values, highest):
        raise ValueError(
            f"its output is stated to be {stated}, but it holds values from {values.min():.4g} to {values.max():.4g}"
        )


def _within(values: np.ndarray, highest: float) -> bool:
    return bool(values.min() >= -1e-6 and values.max() <= highest * 1.005)  # 1.004: 1 in bfloat16, rounded up once


def _sums_to(values: np.ndarray, total: float, tolerance: float) -> bool:
    return bool(np.allclose(values.sum(axis=1), total, rtol=0, atol=tolerance))


def _is_quantized(values: np.ndarray, is_uint8: bool) -> bool:
    """Whole numbers that sum to about 255 or 256. Each of many labels can be rounded up by half, or down to 0.

    For other types than uint8 the sums have to be close, because logits can also be whole numbers.
    """
    if not np.array_equal(values, np.round(values)) or not _within(values, 256.0):
        return False
    slack = np.minimum(np.maximum(4.0, 0.5 * (values > 0).sum(axis=1)), 32.0)
    excess = [values.sum(axis=1) - total for total in _QUANTIZED_SUMS]
    if is_uint8:
        return bool((excess[-1] <= slack).all())
    return any(bool((np.abs(difference) <= slack).all()) for difference in excess)


def _tolerance(rows: np.ndarray) -> float:
    """How far from 1 the sum of probabilities of this precision can be: rounding errors add up like a random walk.

    float32 rows may hold numbers that were rounded to 16 bits on the way.
    """
    for dtype, eps in ((tf.bfloat16, 2.0**-8), (tf.float16, 2.0**-11)):
        numpy_dtype = dtype.as_numpy_dtype
        with np.errstate(over="ignore"):
            if np.array_equal(rows.astype(numpy_dtype).astype(np.float64), rows.astype(np.float64)):
                return max(_SUM_TOLERANCE, eps * math.sqrt(rows.shape[1]))
    return _SUM_TOLERANCE


def _sums(values: np.ndarray) -> str:
    sums = values.sum(axis=1)
    return f"{sums.min():.4g}" if np.isclose(sums.min(), sums.max()) else f"{sums.min():.4g} to {sums.max():.4g}"


def _as_float(rows: tf.Tensor) -> tf.Tensor:
    return tf.cast(rows, tf.float32)


def _divide_by_sum(rows: tf.Tensor) -> tf.Tensor:
    values = tf.maximum(_as_float(rows), 0.0)
    return values / tf.maximum(tf.reduce_sum(values, axis=1, keepdims=True), 1e-9)
