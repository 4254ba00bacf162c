"""Any image classifier: each common kind of SavedModel and of label file becomes a version with the right answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.savedmodels import mean_colours, save_hub_module, save_keras_mobilenet, save_module, save_tf1_table
from tools.models.options import SCALES, OwnModel, Scale
from tools.models.repository import About, read_about
from tools.models.version_writer import write_version
from tools.models.weights import own_model

LABELS = ("Red", "Green", "Blue")


@pytest.fixture
def labels_file(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("".join(f"{label}\n" for label in LABELS))
    return path


def built(
    tmp_path: Path, model: Path, labels: Path, scale: Scale | None = None, **options: Any
) -> tuple[Any, About, Path]:
    """The signature of the version that `model` becomes, the record of its build, and its folder."""
    version = tmp_path / "version"
    version.mkdir()
    own = OwnModel(model, labels, scale, **options)
    write_version(own_model.load(own, (24, 24), tmp_path / "scratch"), version)
    savedmodel = version / "model.savedmodel"
    about = read_about(savedmodel)
    assert about is not None
    return tf.saved_model.load(str(savedmodel)).signatures["serving_default"], about, version


def answer(signature: Any, about: About, colour: tuple[int, int, int]) -> np.ndarray:
    pixels = np.full((3, about.height, about.width, 3), colour, np.uint8)
    rows: np.ndarray = signature(pixels=tf.constant(pixels))["probabilities"].numpy()
    return rows


@pytest.mark.parametrize("scale", SCALES)
def test_pixels_arrive_in_the_stated_scale(tmp_path: Path, labels_file: Path, scale: Scale) -> None:
    """The model returns its input values as logits."""
    seen = {
        "0..255": (255, 0, 51),
        "0..1": (1, 0, 0.2),
        "-1..1": (1, -1, -0.6),
        "imagenet": ((1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225),
        "caffe": (51 - 103.939, -116.779, 255 - 123.68),
    }[scale]
    model = save_module(tmp_path / "own", mean_colours, dtype=tf.float32)
    signature, about, _ = built(tmp_path, model, labels_file, scale, output="logits")
    expected = tf.nn.softmax(np.array([seen], np.float32)).numpy()
    assert np.allclose(answer(signature, about, (255, 0, 51)), expected, atol=1e-4)


def test_probabilities_are_left_as_they_are(
    tmp_path: Path, labels_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = save_module(tmp_path / "own", lambda x: tf.nn.softmax(mean_colours(x) / 50))
    signature, about, _ = built(tmp_path, model, labels_file)
    assert np.allclose(answer(signature, about, (0, 100, 0)), tf.nn.softmax([[0.0, 2.0, 0.0]]), atol=1e-5)
    assert "softmax" not in capfd.readouterr().out


def test_logits_become_probabilities_with_a_note(
    tmp_path: Path, labels_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = save_module(tmp_path / "own", lambda x: mean_colours(x) / 50 - 1)
    signature, about, _ = built(tmp_path, model, labels_file)
    assert np.allclose(answer(signature, about, (0, 100, 0)), tf.nn.softmax([[0.0, 2.0, 0.0]]), atol=1e-5)
    assert "a softmax is added" in capfd.readouterr().out


@pytest.mark.parametrize("size", [(224, 224), (299, 299), (384, 384), (200, 320)], ids=str)
def test_the_version_records_its_image_size(tmp_path: Path, labels_file: Path, size: tuple[int, int]) -> None:
    model = save_module(tmp_path / "own", lambda x: mean_colours(x) / 50, size=size)
    _, about, _ = built(tmp_path, model, labels_file)
    assert (about.height, about.width) == size


def test_any_size_becomes_the_size_of_the_repository(tmp_path: Path, labels_file: Path) -> None:
    model = save_module(tmp_path / "own", lambda x: mean_colours(x) / 50, size=(None, None))
    _, about, _ = built(tmp_path, model, labels_file)
    assert (about.height, about.width) == (24, 24)


@pytest.mark.parametrize("signature", ["serving_default", "serve", "default", "image_classifier", "anything"])
def test_the_signature_is_found(tmp_path: Path, labels_file: Path, signature: str) -> None:
    model = save_module(tmp_path / "own", lambda x: mean_colours(x) / 50, signature=signature, input_name="image")
    wrapped, about, _ = built(tmp_path, model, labels_file)
    assert answer(wrapped, about, (0, 0, 255)).argmax(axis=1).tolist() == [2, 2, 2]


def test_a_hub_module_of_tensorflow_1_answers(tmp_path: Path, labels_file: Path) -> None:
    signature, about, _ = built(tmp_path, save_hub_module(tmp_path / "hub"), labels_file, "0..1")
    assert np.allclose(answer(signature, about, (0, 255, 0)), tf.nn.softmax([[0.0, 5.0, 0.0]]), atol=1e-5)


def test_a_look_up_table_of_tensorflow_1_is_refused(tmp_path: Path, labels_file: Path) -> None:
    with pytest.raises(ValueError, match="look-up table of TensorFlow 1"):
        built(tmp_path, save_tf1_table(tmp_path / "tables"), labels_file, "0..1")


def test_the_output_that_fits_the_labels_is_used(tmp_path: Path, labels_file: Path) -> None:
    model = save_module(
        tmp_path / "own", lambda x: {"embedding": tf.tile(mean_colours(x), [1, 4]), "logits": mean_colours(x) / 50}
    )
    signature, about, _ = built(tmp_path, model, labels_file)
    assert answer(signature, about, (255, 0, 0)).argmax(axis=1).tolist() == [0, 0, 0]


def test_a_keras_export_answers_like_the_model_itself(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"Bird {number}\n" for number in range(7)))
    model = save_keras_mobilenet(tmp_path / "keras", 7)
    signature, about, _ = built(tmp_path, model, labels, "-1..1")
    assert (about.height, about.width, about.engine) == (96, 96, "openvino")
    pixels = np.random.default_rng(5).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    original = tf.saved_model.load(str(model)).signatures["serving_default"]
    ((name, _),) = original.structured_input_signature[1].items()
    (expected,) = original(**{name: tf.constant(pixels / 127.5 - 1, tf.float32)}).values()
    assert np.allclose(signature(pixels=tf.constant(pixels))["probabilities"], expected, atol=1e-5)


def test_tensorflow_runs_what_openvino_cannot(
    tmp_path: Path, labels_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A Fourier transform of complex values by way of an operation that OpenVINO's frontend does not know."""
    model = save_module(
        tmp_path / "own",
        lambda x: (
            mean_colours(x) / 50 + tf.cast(tf.strings.length(tf.strings.as_string(mean_colours(x))), tf.float32) * 0
        ),
    )
    signature, about, _ = built(tmp_path, model, labels_file)
    assert about.engine == "tensorflow"
    said = capfd.readouterr().out
    assert "TensorFlow will" in said
    assert "No conversion rule found for operations: AsString" in said  # the reason, not the last line of OpenVINO
    assert answer(signature, about, (255, 0, 0)).argmax(axis=1).tolist() == [0, 0, 0]


def test_label_ids_are_sorted_as_numbers(tmp_path: Path) -> None:
    """As strings, 10 would come before 2. Names may hold commas in quotes."""
    labels = tmp_path / "aiy_birds_labelmap.csv"
    rows = [f'{number},"Bird, the {number}th"' for number in sorted(range(12), key=str)]
    labels.write_text("\n".join(["id,name", *rows]))
    model = save_module(tmp_path / "own", lambda x: tf.tile(mean_colours(x) / 50, [1, 4]))
    _, _, version = built(tmp_path, model, labels)
    assert (version / "labels.txt").read_text().splitlines() == [f"Bird, the {number}th" for number in range(12)]
