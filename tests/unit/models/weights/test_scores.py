"""What a model answers becomes scores from 0 to 1: a softmax is added to logits and to nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tools.models.options import OutputKind

pytestmark = pytest.mark.usefixtures("tf")
RANDOM = np.random.default_rng(3)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return result


def sigmoid(logits: np.ndarray) -> np.ndarray:
    result: np.ndarray = 1 / (1 + np.exp(-logits))
    return result


def probabilities(classes: int, rows: int = 4, sharpness: float = 3) -> np.ndarray:
    logits = RANDOM.normal(0, sharpness, (rows, classes)).astype(np.float32)
    logits[0] = 0
    logits[0, 1] = 12  # a model that is certain
    return softmax(logits)


def converted(rows: np.ndarray, stated: OutputKind | None = None, multi_label: bool = False) -> np.ndarray:
    import tensorflow as tf

    from tools.models.weights.scores import scores_of

    result: np.ndarray = scores_of(rows, stated, multi_label).convert(tf.constant(rows)).numpy()
    return result


@pytest.mark.parametrize("classes", [2, 7, 60, 965, 10_000])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("widened", [False, True], ids=["as is", "as float32"])
def test_probabilities_of_any_precision_stay(tf: Any, classes: int, dtype: str, widened: bool) -> None:
    exact = probabilities(classes)
    rows = exact.astype(tf.as_dtype(dtype).as_numpy_dtype)
    scores = converted(rows.astype(np.float32) if widened else rows)
    assert np.abs(scores - exact).max() < 0.02
    assert np.allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert (scores.argmax(axis=1)[0], scores[0, 1] > 0.9) == (1, True)


@pytest.mark.parametrize("total", [255, 256])
@pytest.mark.parametrize("classes", [3, 60, 965])
def test_probabilities_in_8_bits_are_recognized(classes: int, total: int) -> None:
    exact = probabilities(classes, sharpness=6)
    rows = np.minimum(np.round(exact * total), 255).astype(np.uint8)
    assert np.abs(converted(rows) - exact).max() < 0.06
    assert np.abs(converted(rows.astype(np.float32)) - exact).max() < 0.06


@pytest.mark.parametrize("classes", [3, 965])
def test_percentages_are_recognized(classes: int) -> None:
    exact = probabilities(classes)
    assert np.abs(converted(exact * 100) - exact).max() < 1e-4


def test_logits_get_a_softmax() -> None:
    logits = RANDOM.normal(0, 3, (4, 20)).astype(np.float32)
    assert np.allclose(converted(logits), softmax(logits), atol=1e-6)
    assert np.allclose(converted(np.abs(logits)), softmax(np.abs(logits)), atol=1e-6)
    assert np.allclose(converted(logits, multi_label=True), sigmoid(logits), atol=1e-6)
    assert np.allclose(converted(logits.astype(np.float16)), softmax(logits), atol=1e-2)


def test_a_sigmoid_head_is_not_guessed() -> None:
    rows = sigmoid(RANDOM.normal(0, 3, (4, 20)).astype(np.float32))
    with pytest.raises(ValueError, match=r"do not sum to 1 .* say --multi-label; for logits, say --output logits"):
        converted(rows)
    assert np.array_equal(converted(rows, multi_label=True), rows)
    assert np.array_equal(converted(rows, "scores"), rows)
    assert np.allclose(converted(rows, "logits"), softmax(rows), atol=1e-6)


def test_stated_kinds_are_followed() -> None:
    exact = probabilities(10)
    assert np.allclose(converted(exact * 1.03, "probabilities"), exact, atol=1e-5)
    assert np.allclose(converted(exact * 100, "percent"), exact, atol=1e-5)
    assert np.allclose(converted(exact * 60, "percent", multi_label=True), exact * 0.6, atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "stated", "message"),
    [
        (np.array([[3.0, -1.0]]), "probabilities", "stated to be probabilities, but it holds values from -1 to 3"),
        (np.array([[0.9, 0.9]]), "probabilities", r"an image's values sum to 1.8: say --multi-label"),
        (np.array([[3.0, -1.0]]), "scores", "stated to be scores, but it holds values from -1 to 3"),
        (np.array([[200.0, 1.0]]), "percent", "stated to be percent, but it holds values from 1 to 200"),
        (np.array([[20.0, 1.0]]), "percent", r"an image's values sum to 21"),
    ],
)
def test_wrong_output_kind_is_refused(rows: np.ndarray, stated: OutputKind, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        converted(rows, stated)
