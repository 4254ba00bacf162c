"""Each engine loads a SavedModel, tells its signature, and answers like the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from placement import Device
from savedmodel_engines import EngineError, OpenVINOEngine, TensorFlowEngine, TensorSpec, load_engine

from tests.support.tiny_model import save_tiny_model

CPU = Device(threads=2)


@pytest.mark.parametrize("engine", [TensorFlowEngine, OpenVINOEngine])
def test_signature_is_read(tf: Any, engine: type, tmp_path: Path) -> None:
    save_tiny_model(tmp_path, input_name="picture", output_name="odds")
    loaded = engine(tmp_path, CPU)
    assert loaded.inputs == {"picture": TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))}
    assert loaded.outputs["odds"].dtype == np.float32
    assert loaded.outputs["odds"].shape[-1] in (4, -1)


def test_the_engines_agree(tiny_savedmodel: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (3, 30, 20, 3), dtype=np.uint8)
    by_tensorflow = TensorFlowEngine(tiny_savedmodel, CPU).run({"pixels": pixels})["probabilities"]
    by_openvino = OpenVINOEngine(tiny_savedmodel, CPU).run({"pixels": pixels})["probabilities"]
    assert by_tensorflow.shape == by_openvino.shape == (3, 4)
    assert np.allclose(by_tensorflow, by_openvino, atol=1e-5)


def test_auto_is_openvino_on_a_cpu(tiny_savedmodel: Path) -> None:
    assert load_engine("auto", tiny_savedmodel, CPU).name == "openvino"


@pytest.mark.parametrize("engine", ["tensorflow", "openvino", "auto"])
def test_a_folder_without_a_savedmodel_is_refused(tf: Any, engine: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"^\w+ cannot load it: .+$") as refused:
        load_engine(engine, tmp_path, CPU)
    assert "\n" not in str(refused.value)


def test_an_unknown_engine_is_refused(tiny_savedmodel: Path) -> None:
    with pytest.raises(EngineError, match="engine 'torch' is not one of tensorflow, openvino, auto"):
        load_engine("torch", tiny_savedmodel, CPU)
