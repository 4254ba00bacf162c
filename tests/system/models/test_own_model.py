"""Options that describe a model are obeyed, and a model that answers differently each time is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.savedmodels import mean_colours, save_module
from tools.errors import UsageError
from tools.models.options import OwnModel, parse_size
from tools.models.repository import About, read_about
from tools.models.version_writer import write_version
from tools.models.weights import own_model


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("Red\nGreen\nBlue\n")
    return path


def built(tmp_path: Path, model: OwnModel) -> tuple[About, Any]:
    """The record of the version's build, and its signature."""
    folder = tmp_path / "version"
    folder.mkdir()
    write_version(own_model.load(model, (32, 32), tmp_path / "scratch"), folder)
    about = read_about(folder / "model.savedmodel")
    assert about is not None
    return about, tf.saved_model.load(str(folder / "model.savedmodel")).signatures["serving_default"]


def row(signature: Any, size: tuple[int, int], colour: tuple[int, int, int]) -> np.ndarray:
    pixels = np.full((1, *size, 3), colour, np.uint8)
    answer: np.ndarray = signature(pixels=tf.constant(pixels))["probabilities"].numpy()[0]
    return answer


def left_and_right(x: Any) -> Any:
    """Rows that change when an image is mirrored: red is the left half, green the right one."""
    values = tf.cast(x, tf.float32)
    width = tf.shape(values)[2]
    halves = [tf.reduce_mean(half, axis=[1, 2, 3]) for half in (values[:, :, : width // 2], values[:, :, width // 2 :])]
    return tf.nn.softmax(tf.stack([*halves, halves[0] * 0], axis=1) / 10)


def mirrored_at_random(x: Any) -> Any:
    coins = tf.random.uniform([tf.shape(x)[0], 1, 1, 1]) < 0.5
    return left_and_right(tf.where(coins, x, tf.reverse(x, axis=[2])))


def normalized_over_the_batch(x: Any) -> Any:
    values = mean_colours(x)
    return tf.nn.softmax((values - tf.reduce_mean(values, axis=0)) / 20)


@pytest.mark.parametrize("rows", [mirrored_at_random, normalized_over_the_batch])
def test_answers_that_change_are_refused(tmp_path: Path, labels: Path, rows: Any) -> None:
    own = OwnModel(save_module(tmp_path / "own", rows), labels)
    with pytest.raises(ValueError, match=r"the model.*answer.*--allow-random"):
        built(tmp_path, own)


def test_random_answers_are_served_on_request(tmp_path: Path, labels: Path, capfd: pytest.CaptureFixture[str]) -> None:
    own = OwnModel(save_module(tmp_path / "own", mirrored_at_random), labels, allow_random=True)
    about, _ = built(tmp_path, own)
    assert about.random
    assert about.engine == "tensorflow"
    assert "Note: the model" in capfd.readouterr().out


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in Keras, of NumPy 2
def test_keras_augmentation_left_on_is_refused(tmp_path: Path, labels: Path) -> None:
    import keras

    flip = keras.layers.RandomFlip("horizontal")
    inputs = keras.layers.Input((32, 32, 3))
    pooled = keras.layers.AveragePooling2D((32, 16))(flip(inputs, training=True))
    outputs = keras.layers.Softmax()(
        keras.layers.Dense(3, kernel_initializer=keras.initializers.RandomNormal(seed=1))(
            keras.layers.Flatten()(pooled / 20)
        )
    )
    keras.Model(inputs, outputs).save(tmp_path / "own.keras")
    with pytest.raises(ValueError, match="random augmentation"):
        built(tmp_path, OwnModel(tmp_path / "own.keras", labels, "0..255"))


def test_a_bfloat16_softmax_is_not_softened(tmp_path: Path, labels: Path) -> None:
    model = save_module(tmp_path / "own", lambda x: tf.nn.softmax(tf.cast(mean_colours(x) / 20, tf.bfloat16)))
    _, signature = built(tmp_path, OwnModel(model, labels))
    assert row(signature, (32, 32), (255, 0, 0))[0] > 0.99


def test_a_sigmoid_head_is_served_with_multi_label(tmp_path: Path, labels: Path) -> None:
    model = save_module(tmp_path / "own", lambda x: tf.sigmoid(mean_colours(x) / 50 - 2))
    _, signature = built(tmp_path, OwnModel(model, labels, multi_label=True))
    assert row(signature, (32, 32), (255, 255, 0)) == pytest.approx([0.957, 0.957, 0.119], abs=1e-3)


def test_mean_and_std_apply_after_the_scale(tmp_path: Path, labels: Path) -> None:
    model = save_module(tmp_path / "own", mean_colours, dtype=tf.float32)
    own = OwnModel(model, labels, "0..1", (0.5, 0.5, 0.5), (0.5, 0.25, 0.1), output="logits")
    _, signature = built(tmp_path, own)
    expected = tf.nn.softmax([(1 - 0.5) / 0.5, -0.5 / 0.25, (0.2 - 0.5) / 0.1]).numpy()
    assert row(signature, (32, 32), (255, 0, 51)) == pytest.approx(expected, abs=1e-4)


def test_size_is_for_models_of_any_size(tmp_path: Path, labels: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = save_module(tmp_path / "own", lambda x: mean_colours(x) / 50 - 1, size=(None, None))
    about, _ = built(tmp_path, OwnModel(model, labels, size=parse_size("299x200")))
    assert (about.height, about.width) == (299, 200)
    assert "any size" not in capfd.readouterr().out
    own_model.load(OwnModel(model, labels), (32, 32), tmp_path)
    assert "images of any size: they will be resized to 32x32" in capfd.readouterr().out
    fixed = save_module(tmp_path / "fixed", lambda x: mean_colours(x) / 50 - 1)
    with pytest.raises(ValueError, match="its images are 32x32 and cannot be 299x299"):
        own_model.load(OwnModel(fixed, labels, size=(299, 299)), (32, 32), tmp_path)


def test_signature_and_output_can_be_named(tmp_path: Path, labels: Path) -> None:
    module = tf.Module()
    spec = tf.TensorSpec([None, 32, 32, 3], tf.uint8)
    module.a = tf.function(lambda x: {"out": mean_colours(x) * -1}, input_signature=[spec])
    module.b = tf.function(lambda x: {"p": mean_colours(x) - 1, "q": 1 - mean_colours(x)}, input_signature=[spec])
    path = tmp_path / "own"
    tf.saved_model.save(module, str(path), signatures={"first": module.a, "second": module.b})
    with pytest.raises(ValueError, match=r"\(it has first, second\): choose one with --signature"):
        own_model.load(OwnModel(path, labels), (32, 32), tmp_path)
    with pytest.raises(ValueError, match=r"has no signature third \(it has first, second\)"):
        own_model.load(OwnModel(path, labels, signature="third"), (32, 32), tmp_path)
    with pytest.raises(ValueError, match=r"its outputs p, q all fit the labels: choose one with --output-name"):
        own_model.load(OwnModel(path, labels, signature="second"), (32, 32), tmp_path)
    with pytest.raises(ValueError, match=r"it has no output r \(it has p, q\)"):
        own_model.load(OwnModel(path, labels, signature="second", output_name="r"), (32, 32), tmp_path)
    _, signature = built(tmp_path, OwnModel(path, labels, signature="second", output_name="q"))
    assert row(signature, (32, 32), (255, 0, 255)).argmax() == 1


def test_an_int8_input_is_refused(tmp_path: Path, labels: Path) -> None:
    model = save_module(tmp_path / "own", mean_colours, dtype=tf.int8)
    with pytest.raises(ValueError, match="int8, which cannot hold pixels from 0 to 255"):
        own_model.load(OwnModel(model, labels), (32, 32), tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": (1.0, 1.0, 1.0)}, "--mean needs --scale"),
        ({"std": (1.0, 1.0, 1.0), "scale": "caffe"}, "--std needs --scale"),
        ({"std": (1.0, 0.0, 1.0), "scale": "0..1"}, "--std cannot be 0"),
        ({"mean": (1.0, 2.0), "scale": "0..1"}, "--mean takes three numbers"),
        ({"mean": (float("nan"),) * 3, "scale": "0..1"}, "--mean takes three numbers"),
        ({"size": (0, 5)}, "--size must be between 1 and 4096"),
        ({"multi_label": True, "output": "probabilities"}, "exclude each other"),
    ],
)
def test_options_that_contradict_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        OwnModel(Path("model"), Path("labels"), **options)


@pytest.mark.parametrize("text", ["", "x", "1x2x3", "-1", "1.5", "١"])
def test_sizes_that_are_not_sizes_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        parse_size(text)
