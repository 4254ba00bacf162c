"""Building the first version: three sources, an announced fallback, one clear line for every mistake."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tools.cli.main import main
from tools.models.repository import MODEL_REPOSITORY, labels_path, read_about, savedmodel_path


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository without a classifier, far from any mirror, cache or Internet."""
    repository = tmp_path / "repository"
    for model in ("classifier", "preprocess"):
        (repository / model).mkdir(parents=True)
        shutil.copy(MODEL_REPOSITORY / model / "config.pbtxt", repository / model)
    return repository


@pytest.fixture(autouse=True)
def nowhere_to_fetch_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BIRDS_MODEL_MIRROR", raising=False)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # refuses every connection
    monkeypatch.setattr("tools.models.weights.fetch.CACHE", tmp_path / "cache")


def build(repository: Path, *arguments: str) -> int:
    return main(["models", "build", *arguments, "--repository", str(repository)])


def keras_like(directory: Path, output: Any, dtype: Any = tf.float32, size: int | None = 224) -> Path:
    """A SavedModel as others export it: other names, its own scaling; `output` maps pixels to rows."""
    module = tf.Module()
    spec = tf.TensorSpec([None, size, size, 3], dtype, name="keras_tensor")
    module.f = tf.function(lambda keras_tensor: {"output_0": output(keras_tensor)}, input_signature=[spec])
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.f})
    return directory


def mean_colours(pixels: Any) -> Any:
    return tf.reduce_mean(tf.cast(pixels, tf.float32), axis=[1, 2])


@pytest.fixture
def labels_file(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("Red\nGreen\nBlue\n")
    return path


def test_the_fallback_is_announced_and_complete(repository: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert build(repository) == 0
    output = capfd.readouterr()
    assert "WARNING: the default classifier (aiy-birds-v1, 964 species) is not available" in output.err
    about = read_about(savedmodel_path(repository))
    assert about is not None
    assert about.source == "imagenet-birds"
    assert len(labels_path(repository).read_text().splitlines()) == 60


def test_a_named_source_has_no_fallback(repository: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert build(repository, "--source", "aiy-birds-v1") == 1
    assert "birds: could not fetch inat_bird_labels.txt" in capfd.readouterr().err
    assert not savedmodel_path(repository).exists()


def test_builds_a_users_savedmodel(repository: Path, tmp_path: Path, labels_file: Path) -> None:
    own = keras_like(tmp_path / "own", lambda x: tf.nn.softmax(mean_colours(x)))
    assert build(repository, "--savedmodel", str(own), "--labels", str(labels_file), "--scale", "0..1") == 0
    signature = tf.saved_model.load(str(savedmodel_path(repository))).signatures["serving_default"]
    green = np.full((2, 224, 224, 3), (0, 255, 0), np.uint8)
    rows = signature(pixels=tf.constant(green))["probabilities"].numpy()
    assert np.allclose(rows, tf.nn.softmax([[0.0, 1.0, 0.0]] * 2), atol=1e-5)
    assert labels_path(repository).read_text() == labels_file.read_text()


def test_turns_logits_into_probabilities_and_says_so(
    repository: Path, tmp_path: Path, labels_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = keras_like(tmp_path / "own", lambda x: 4 * mean_colours(x), tf.uint8)
    assert build(repository, "--savedmodel", str(own), "--labels", str(labels_file)) == 0
    assert "a softmax is added" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("model", "message"),
    [
        pytest.param({}, "say with --scale what range", id="floats of unknown range"),
        pytest.param({"dtype": tf.uint8, "classes": 2}, "3 labels, the model answers with shape [4, 2]", id="width"),
    ],
)
def test_refuses_a_savedmodel_that_does_not_fit(
    repository: Path,
    tmp_path: Path,
    labels_file: Path,
    capfd: pytest.CaptureFixture[str],
    model: dict[str, Any],
    message: str,
) -> None:
    classes = model.pop("classes", 3)
    own = keras_like(tmp_path / "own", lambda x: tf.nn.softmax(mean_colours(x)[:, :classes]), **model)
    assert build(repository, "--savedmodel", str(own), "--labels", str(labels_file)) == 1
    assert message in capfd.readouterr().err
    assert not savedmodel_path(repository).exists()


def test_refuses_a_folder_without_a_savedmodel(
    repository: Path, tmp_path: Path, labels_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert build(repository, "--savedmodel", str(tmp_path), "--labels", str(labels_file)) == 1
    assert "is not a SavedModel that TensorFlow can load" in capfd.readouterr().err


def test_a_failed_build_changes_nothing(repository: Path, tmp_path: Path, labels_file: Path) -> None:
    assert build(repository, "--source", "imagenet-birds") == 0
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    assert build(repository, "--savedmodel", str(tmp_path / "none"), "--labels", str(labels_file)) == 1
    assert {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()} == before


def test_help_is_fast_and_has_examples() -> None:
    help_text = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tools.cli", "models", "build", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--source imagenet-birds" in help_text.stdout
    assert "tensorflow" not in help_text.stderr  # which would take seconds
