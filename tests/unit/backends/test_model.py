"""The backend's own code, with a stand-in for the module that exists only inside Triton's stub."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from version_manifest import write_manifest

from tests.support.python_backend import Request, stub_module


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", stub_module([]))
    monkeypatch.delitem(sys.modules, "model", raising=False)
    import model

    yield model
    monkeypatch.delitem(sys.modules, "model", raising=False)


@pytest.fixture
def version(tiny_savedmodel: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "classifier" / "1"
    folder.mkdir(parents=True)
    (folder / "model.savedmodel").symlink_to(tiny_savedmodel)
    (folder / "labels.txt").write_text("a\nb\nc\nd\n")
    return folder


def arguments(version: Path) -> dict[str, str]:
    config = {
        "name": "classifier",
        "max_batch_size": 16,
        "input": [{"name": "pixels", "data_type": "TYPE_UINT8", "dims": ["-1", "-1", "3"]}],
        "output": [{"name": "probabilities", "data_type": "TYPE_FP32", "dims": ["-1"]}],
        "parameters": {"engine": {"string_value": "openvino"}},
        "instance_group": [{"count": 1}],
    }
    return {
        "model_config": json.dumps(config),
        "model_repository": str(version.parent),
        "model_version": version.name,
        "model_instance_kind": "CPU",
        "model_instance_device_id": "0",
        "model_instance_name": "classifier_0_0",
    }


def test_a_batch_is_split_again(backend: Any, version: Path) -> None:
    write_manifest(version)
    loaded = backend.TritonPythonModel()
    loaded.initialize(arguments(version))
    pixels = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    single, pair, other_size = loaded.execute(
        [Request("pixels", batch) for batch in (pixels[:1], pixels[1:], np.zeros((1, 5, 5, 3), np.uint8))]
    )
    assert single.array.shape == (1, 4)
    assert pair.array.shape == (2, 4)
    assert other_size.array.shape == (1, 4)
    (alone,) = loaded.execute([Request("pixels", pixels[:1])])
    assert np.allclose(alone.array, single.array, atol=1e-5)


def test_a_damaged_version_is_not_loaded(backend: Any, version: Path) -> None:
    write_manifest(version)
    (version / "labels.txt").write_text("\na\nb\nc\n")
    with pytest.raises(Exception, match=r"^classifier version 1: labels\.txt differs from manifest\.json") as refused:
        backend.TritonPythonModel().initialize(arguments(version))
    assert type(refused.value).__name__ == "TritonModelException"


def test_a_version_without_a_manifest_is_loaded(backend: Any, version: Path) -> None:
    backend.TritonPythonModel().initialize(arguments(version))


def test_uses_the_cores_that_triton_may_use(backend: Any, version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIRDS_USABLE_CORES", "3")
    asked: list[int] = []
    load = backend.load_engine

    def load_engine(engine: str, savedmodel: Path, device: Any, precision: str) -> Any:
        asked.append(device.threads)
        return load(engine, savedmodel, device, precision)

    monkeypatch.setattr(backend, "load_engine", load_engine)
    backend.TritonPythonModel().initialize(arguments(version))
    assert asked == [3]


def test_another_programs_note_about_the_model_is_ignored(backend: Any, version: Path, tiny_savedmodel: Path) -> None:
    """The file in which the tools record the engine may be another program's, and hold anything."""
    savedmodel = version / "model.savedmodel"
    savedmodel.unlink()
    shutil.copytree(tiny_savedmodel, savedmodel)
    (savedmodel / "assets.extra").mkdir(exist_ok=True)
    (savedmodel / "assets.extra" / "birds.json").write_text("[]")
    loaded = backend.TritonPythonModel()
    loaded.initialize(arguments(version))
    assert loaded.engine.name == "openvino"
