"""Each common kind of SavedModel and of label file is published and gives the right answers through Triton."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tritonclient.grpc

from tests.support.images import flat
from tests.support.model_repository import copy_templates, install_classifier
from tests.support.savedmodels import mean_colours, save_hub_module, save_keras_mobilenet, save_module
from tests.support.tiny_model import LABELS
from tools.models import publishing
from tools.models.live_config import ensemble_of
from tools.models.options import OwnModel, Scale
from tools.models.repository import About, image_size, read_versions
from tools.models.version_writer import write_version
from tools.models.weights import own_model
from tools.serve.ports import free_triton_ports
from tools.serve.triton_process import TritonServer
from tools.triton.control import TritonControl

COLOUR = (60, 20, 220)  # blue above all: the third label, where ids sorted as text would have the eleventh
THREE = ("Red", "Green", "Blue")
SEVEN = tuple(f"Bird {number}" for number in range(7))
TWELVE = tuple(f"Bird, the {number}th" for number in range(12))


@dataclass
class Service:
    """A Triton of its own, over a repository that tests may change."""

    triton: TritonServer
    repository: Path

    def publish(self, model: Path, labels: Path, scale: Scale | None) -> int:
        """What `birds models publish --not-default` does, with the build in this process."""

        def build(directory: Path) -> None:
            own = own_model.load(OwnModel(model, labels, scale), image_size(self.repository), directory.parent)
            write_version(own, directory)

        control = TritonControl(self.triton.http_url)
        return publishing.publish(self.repository, build, becomes_default=False, control=control)

    def retire(self, version: int) -> None:
        publishing.retire(self.repository, version, TritonControl(self.triton.http_url))

    def best(self, version: int, count: int) -> list[tuple[float, int, str]]:
        """Score, index and label of the `count` best labels of a picture in COLOUR."""
        image = tritonclient.grpc.InferInput("IMAGE", [1, 1], "BYTES")
        image.set_data_from_numpy(np.array([[flat(COLOUR)]], dtype=np.object_))
        output = tritonclient.grpc.InferRequestedOutput("PROBABILITIES", class_count=count)
        with tritonclient.grpc.InferenceServerClient(self.triton.grpc_url) as client:
            answer = client.infer(ensemble_of(version), [image], outputs=[output], client_timeout=20)
        entries = [entry.decode().split(":", 2) for entry in answer.as_numpy("PROBABILITIES").flat]
        return [(float(score), int(index), label) for score, index, label in entries]

    def about(self, version: int) -> About:
        about = read_versions(self.repository)[version].about
        assert about is not None
        return about


@pytest.fixture(scope="module")
def service(tiny_savedmodel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    repository = tmp_path_factory.mktemp("kinds") / "models"
    copy_templates(repository)
    install_classifier(repository, tiny_savedmodel, LABELS)
    with TritonServer(free_triton_ports(), tmp_path_factory.mktemp("triton") / "triton.log", repository) as triton:
        triton.wait_until_ready()
        yield Service(triton, repository)


def text(folder: Path) -> Path:
    path = folder / "labels.txt"
    path.write_text("".join(f"{label}\n" for label in THREE))
    return path


def csv_in_the_order_of_text(folder: Path) -> Path:
    """Ids 0, 1, 10, 11, 2 and so on, as a program that sorts text writes them."""
    rows = io.StringIO()
    csv.writer(rows).writerows([("id", "name"), *sorted(enumerate(TWELVE), key=lambda row: str(row[0]))])
    path = folder / "labelmap.csv"
    path.write_text(rows.getvalue())
    return path


def json_list(folder: Path) -> Path:
    path = folder / "labels.json"
    path.write_text(json.dumps(THREE))
    return path


def json_from_name_to_id(folder: Path) -> Path:
    path = folder / "class_indices.json"
    path.write_text(json.dumps({name: number for number, name in reversed(list(enumerate(THREE)))}))
    return path


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    rows: np.ndarray = powers / powers.sum()
    return rows


RAW = np.array(COLOUR, np.float64)
UNIT = RAW / 255
WITHIN = 0.001  # the mean of 384x384 values in 32-bit floats is exact to three digits; another scale is off by 0.05
IMAGENET = (UNIT - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Kind:
    """A model to publish, and the logits that it must give for a picture in COLOUR."""

    save: Callable[[Path], Path]
    labels: Callable[[Path], Path]
    scale: Scale | None
    logits: np.ndarray
    size: tuple[int, int] = (32, 32)
    names: tuple[str, ...] = THREE
    engine: str = "openvino"


KINDS = {
    "uint8 0-255, probabilities, 224, text": Kind(
        lambda folder: save_module(folder, lambda x: tf.nn.softmax(mean_colours(x) / 50), (224, 224)),
        text,
        None,
        RAW / 50,
        size=(224, 224),
    ),
    "float 0-1, logits, 299, CSV out of order": Kind(
        lambda folder: save_module(
            folder, lambda x: tf.pad(5 * mean_colours(x), [[0, 0], [0, 9]]), (299, 299), tf.float32
        ),
        csv_in_the_order_of_text,
        "0..1",
        np.pad(5 * UNIT, (0, 9)),
        size=(299, 299),
        names=TWELVE,
    ),
    "float -1..1, probabilities, 384, JSON list": Kind(
        lambda folder: save_module(folder, lambda x: tf.nn.softmax(mean_colours(x)), (384, 384), tf.float32),
        json_list,
        "-1..1",
        2 * UNIT - 1,
        size=(384, 384),
    ),
    "imagenet scale, logits, any size, JSON from name to id": Kind(
        lambda folder: save_module(folder, mean_colours, (None, None), tf.float32),
        json_from_name_to_id,
        "imagenet",
        IMAGENET,
        size=(224, 224),
    ),
    "TF1 hub, signature default alone": Kind(lambda folder: save_hub_module(folder, "default"), text, "0..1", 5 * UNIT),
    "TF1 hub, signature image_classifier beside a default of features": Kind(
        lambda folder: save_hub_module(folder, "image_classifier"), text, "0..1", 5 * UNIT
    ),
    "an operation that OpenVINO lacks": Kind(
        lambda folder: save_module(
            folder,
            lambda x: (
                mean_colours(x) / 50 + 0 * tf.cast(tf.strings.length(tf.strings.as_string(mean_colours(x))), tf.float32)
            ),
        ),
        text,
        None,
        RAW / 50,
        engine="tensorflow",
    ),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_each_kind_of_model_answers_correctly(service: Service, tmp_path: Path, kind: Kind) -> None:
    version = service.publish(kind.save(tmp_path / "model"), kind.labels(tmp_path), kind.scale)
    try:
        about = service.about(version)
        assert (about.height, about.width, about.engine) == (*kind.size, kind.engine)
        scores = softmax(kind.logits)
        best = service.best(version, 3)
        assert [label for _, _, label in best] == [kind.names[index] for index in (2, 0, 1)]
        assert [index for _, index, _ in best] == [2, 0, 1]
        assert [score for score, _, _ in best] == pytest.approx([scores[2], scores[0], scores[1]], abs=WITHIN)
    finally:
        service.retire(version)


def test_a_keras_export_answers_like_the_model_itself(service: Service, tmp_path: Path) -> None:
    model = save_keras_mobilenet(tmp_path / "keras", len(SEVEN))
    (tmp_path / "labels.txt").write_text("\n".join(SEVEN))
    version = service.publish(model, tmp_path / "labels.txt", "-1..1")
    try:
        pixels = np.full((1, 96, 96, 3), COLOUR, np.float32) / 127.5 - 1
        original = tf.saved_model.load(str(model)).signatures["serving_default"]
        ((name, _),) = original.structured_input_signature[1].items()
        ((_, rows),) = original(**{name: tf.constant(pixels)}).items()
        best = service.best(version, len(SEVEN))
        assert {label for _, _, label in best} == set(SEVEN)
        for score, index, label in best:
            assert label == SEVEN[index]
            assert score == pytest.approx(float(rows[0, index]), abs=1e-5)
    finally:
        service.retire(version)
