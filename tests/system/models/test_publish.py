"""`birds models publish` with real builds: what becomes a version, what is refused, and what a stopped build leaves."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tests.support.offline_models import NOBODY, contents, run, stays_unchanged, stopped_repository
from tests.support.savedmodels import mean_colours, save_module
from tools import ROOT
from tools.models import publishing
from tools.models.options import OwnModel
from tools.models.repository import read_default, read_versions
from tools.models.weights import own_model
from tools.triton.settings import TritonSettings


@pytest.fixture
def repository(tiny_savedmodel: Path, tmp_path: Path) -> Path:
    return stopped_repository(tmp_path / "models", tiny_savedmodel)


@pytest.fixture
def labels_file(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("Red\nGreen\nBlue\n")
    return path


@pytest.fixture(scope="session")
def good_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_module(tmp_path_factory.mktemp("good") / "model", lambda x: tf.nn.softmax(mean_colours(x) / 50))


def command(repository: Path, *arguments: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "tools.cli",
        "models",
        *arguments,
        "--repository",
        str(repository),
        "--triton",
        NOBODY,
    ]


@pytest.fixture
def unchanged(repository: Path) -> Iterator[None]:
    with stays_unchanged(repository):
        yield


def test_publish_rollback_list_and_retire(
    repository: Path, good_model: Path, labels_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(repository, "publish", "--savedmodel", str(good_model), "--labels", str(labels_file)) == 0
    said = capfd.readouterr().err
    assert "this takes effect when it starts" in said
    assert "a model is a program" in said
    assert read_default(repository) == 2
    assert run(repository, "rollback") == 0
    assert read_default(repository) == 1
    capfd.readouterr()
    assert run(repository, "list", "--json") == 0
    first, second = json.loads(capfd.readouterr().out)["versions"]
    assert (first["version"], first["default"], first["labels"]) == (1, True, 4)
    assert (second["version"], second["default"], second["labels"], second["size"]) == (2, False, 3, "32x32")
    assert second["source"] == str(good_model)
    assert run(repository, "list") == 0
    assert re.search(r"^2 +no +no +3 +32x32 +openvino", capfd.readouterr().out, re.MULTILINE)
    assert run(repository, "retire", "2") == 0
    assert list(read_versions(repository)) == [1]
    assert not (repository / "birds_v2").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Red\n\nBlue\n", "label 1 (counted from 0) is blank"),
        ("Red\nBlue\nRed\n", "has the label 'Red' 2 times"),
        ("Red\nBlue\n", "has 2 labels, the model answers with shape [4, 3]"),
        ("", "has no labels"),
        ("id,name\n0,Red\n2,Blue\n3,Green\n", "should count from 0, but not the id 1"),
        ("id,name\n0,Red\n0,Blue\n1,Green\n", "has the id 0 twice"),
        ("id,name\nzero,Red\n", "has an id that is not a whole number: 'zero'"),
        ("id,name\n0,Red,x\n", "line 2: two columns are needed"),
    ],
)
def test_unfit_labels_are_refused(good_model: Path, tmp_path: Path, content: str, message: str) -> None:
    labels = tmp_path / "odd.txt"
    labels.write_text(content)
    assert message in refusal(good_model, labels)


def refusal(model: Path, labels: Path) -> str:
    with pytest.raises(ValueError, match=r"\S") as refused:
        own_model.load(OwnModel(model, labels), (24, 24), model.parent / "scratch")
    assert "\n" not in str(refused.value)
    return str(refused.value)


def _two_inputs(directory: Path) -> Path:
    module = tf.Module()
    spec = tf.TensorSpec([None, 8, 8, 3], tf.uint8)
    module.f = tf.function(lambda a, b: {"rows": mean_colours(a) + mean_colours(b)}, input_signature=[spec, spec])
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.f})
    return directory


def _no_signature(directory: Path) -> Path:
    tf.saved_model.save(tf.Module(), str(directory))
    return directory


def _custom_operation(directory: Path) -> Path:
    save_module(directory, lambda x: tf.nn.softmax(mean_colours(x)))
    graph = (directory / "saved_model.pb").read_bytes()
    assert b"Softmax" in graph
    (directory / "saved_model.pb").write_bytes(graph.replace(b"Softmax", b"Sharpen"))
    return directory


def _damaged(directory: Path) -> Path:
    directory.mkdir()
    (directory / "saved_model.pb").write_bytes(b"this is not a graph")
    return directory


def _too_large(x: Any) -> Any:
    """Needs 4 TB for one batch."""
    return mean_colours(x) + tf.reduce_sum(tf.random.uniform([1_000_000, 1_000_000])) * 0


def _not_a_number(x: Any) -> Any:
    return mean_colours(x) * float("nan")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda d: d, "does not exist", id="no folder"),
        pytest.param(_damaged, "saved_model.pb is damaged", id="damaged"),
        pytest.param(_no_signature, "has no signature: export it with one", id="no signature"),
        pytest.param(_two_inputs, "has 2 inputs (a, b), but must have one", id="two inputs"),
        pytest.param(_custom_operation, "uses the operation Sharpen, which TensorFlow does not have", id="custom op"),
        pytest.param(lambda d: save_module(d, _too_large), "memory", id="more memory than there is"),
        pytest.param(lambda d: save_module(d, _not_a_number), "not numbers (NaN", id="NaN"),
        pytest.param(
            lambda d: save_module(d, mean_colours, batch=1), "its batch size is fixed at 1", id="batch size of one"
        ),
        pytest.param(
            lambda d: save_module(d, mean_colours, dtype=tf.float32), "say with --scale what range", id="no scale"
        ),
    ],
)
def test_an_unservable_savedmodel_is_refused(labels_file: Path, tmp_path: Path, make: Any, message: str) -> None:
    assert message in refusal(make(tmp_path / "own"), labels_file)


@pytest.mark.usefixtures("unchanged")
def test_a_mistake_changes_nothing(
    repository: Path, labels_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = _custom_operation(tmp_path / "own")
    assert run(repository, "publish", "--savedmodel", str(model), "--labels", str(labels_file)) == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert re.match("birds: .* uses the operation Sharpen, which TensorFlow does not have: ", last)


@pytest.mark.usefixtures("unchanged")
def test_full_disk_changes_nothing(repository: Path, good_model: Path, labels_file: Path) -> None:
    """No file may grow beyond 2 kB: writing fails half way, as on a full disk."""
    ended = subprocess.run(
        command(repository, "publish", "--savedmodel", str(good_model), "--labels", str(labels_file)),
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("birds: ")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "asked to stop"])
def test_a_publish_that_is_ended_leaves_no_half_version(
    repository: Path, good_model: Path, labels_file: Path, tmp_path: Path, number: signal.Signals
) -> None:
    before = contents(repository)
    publish = command(repository, "publish", "--savedmodel", str(good_model), "--labels", str(labels_file))
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with subprocess.Popen(publish, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL) as process:
        while not (repository / ".publishing" / "scratch").exists():
            time.sleep(0.01)
        time.sleep(0.5)
        os.kill(process.pid, number)
    publishing.prepare(repository, TritonSettings())
    assert contents(repository) == before
    assert not list(scratch.iterdir())
