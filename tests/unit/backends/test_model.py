"""The backend's own code, with a stand-in for the module that exists only inside Triton's stub."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from version_manifest import write_manifest


class FakeTensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        self.tensor_name = name
        self.array = array

    def shape(self) -> list[int]:
        return list(self.array.shape)

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class FakeRequest:
    def __init__(self, array: np.ndarray) -> None:
        self.tensor = FakeTensor("pixels", array)

    def inputs(self) -> list[FakeTensor]:
        return [self.tensor]


class FakeError(Exception):
    INVALID_ARG = 3

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    fake: Any = ModuleType("triton_python_backend_utils")
    fake.TritonModelException = type("TritonModelException", (Exception,), {})
    fake.TritonError = FakeError
    fake.Tensor = FakeTensor
    fake.InferenceResponse = lambda tensors=None, error=None: SimpleNamespace(tensors=tensors, error=error)
    fake.Logger = SimpleNamespace(log_info=lambda _: None, log_error=lambda _: None)
    fake.get_input_tensor_by_name = lambda request, _: request.tensor
    fake.triton_string_to_numpy = {"TYPE_UINT8": np.uint8, "TYPE_FP32": np.float32}.__getitem__
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", fake)
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
        [FakeRequest(pixels[:1]), FakeRequest(pixels[1:]), FakeRequest(np.zeros((1, 5, 5, 3), np.uint8))]
    )
    assert single.tensors[0].array.shape == (1, 4)
    assert pair.tensors[0].array.shape == (2, 4)
    assert other_size.tensors[0].array.shape == (1, 4)
    (alone,) = loaded.execute([FakeRequest(pixels[:1])])
    assert np.allclose(alone.tensors[0].array, single.tensors[0].array, atol=1e-5)


def test_a_damaged_version_is_not_loaded(backend: Any, version: Path) -> None:
    write_manifest(version)
    (version / "labels.txt").write_text("\na\nb\nc\n")
    with pytest.raises(Exception, match=r"^classifier version 1: labels\.txt differs from manifest\.json") as refused:
        backend.TritonPythonModel().initialize(arguments(version))
    assert type(refused.value).__name__ == "TritonModelException"


def test_a_version_without_a_manifest_is_loaded(backend: Any, version: Path) -> None:
    backend.TritonPythonModel().initialize(arguments(version))
