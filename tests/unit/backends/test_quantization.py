"""A float SavedModel that comes with ranges runs in 8 bits, and its answers differ only by rounding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from placement import Device
from quantization import FILE, QuantizationMisfit, is_worthwhile, quantize
from savedmodel_engines import EngineError, OpenVINOEngine

CPU = Device(threads=1)
SCALE = 0.01  # between two weights


def steps() -> list[dict[str, Any]]:
    """The operations of the network below, with ranges that hold all that its inputs can make of them."""
    weighted = {"weight_scale": SCALE}
    return [
        {"operation": "CONV_2D", "low": 0.0, "high": 6.0, **weighted},
        {"operation": "DEPTHWISE_CONV_2D", "low": 0.0, "high": 6.0, **weighted},
        {"operation": "CONV_2D", "low": -8.0, "high": 8.0, **weighted},
        {"operation": "ADD", "low": -8.0, "high": 14.0, "weight_scale": None},
        {"operation": "AVERAGE_POOL_2D", "low": -8.0, "high": 14.0, "weight_scale": None},
        {"operation": "FULLY_CONNECTED", "low": -8.0, "high": 8.0, **weighted},
    ]


@pytest.fixture(scope="module")
def network(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every operation that has a range, once or twice; its weights are whole multiples of SCALE."""
    random = np.random.default_rng(5)

    def weights(*shape: int) -> np.ndarray:
        return (random.integers(-100, 101, shape) * SCALE).astype(np.float32)

    first, deep, second, dense = weights(3, 3, 3, 8), weights(3, 3, 8, 1), weights(1, 1, 8, 8), weights(8, 4)
    module = tf.Module()

    def predict(pixels: Any) -> dict[str, Any]:
        scaled = tf.cast(pixels, tf.float32) / 128 - 1
        left = tf.nn.relu6(tf.nn.conv2d(scaled, first, 2, "SAME") + 0.1)
        right = tf.nn.relu6(tf.nn.depthwise_conv2d(left, deep, [1, 1, 1, 1], "SAME") - 0.1)
        added = tf.nn.conv2d(right / 4, second / 4, 1, "SAME") + 0.1 + left
        pooled = tf.reshape(tf.nn.avg_pool2d(added, 8, 8, "VALID"), [-1, 8])
        return {"probabilities": tf.nn.softmax(tf.matmul(pooled, dense) + 0.1)}

    pixels = tf.TensorSpec([None, 16, 16, 3], tf.uint8, name="pixels")
    module.serving_default = tf.function(predict, input_signature=[pixels])
    folder = tmp_path_factory.mktemp("network") / "model.savedmodel"
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serving_default})
    return folder


@pytest.fixture
def ranged(network: Path) -> Path:
    (network / FILE).parent.mkdir(exist_ok=True)
    (network / FILE).write_text(json.dumps({"input": [-1.0, 0.9921875], "steps": steps()}))
    return network


def fake_quantizers(savedmodel: Path) -> list[Any]:
    model = openvino.Core().read_model(savedmodel)
    quantize(model, savedmodel)
    return [node for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize"]


def test_answers_differ_from_float_by_rounding(ranged: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    in_float = OpenVINOEngine(ranged, CPU, "f32").run({"pixels": pixels})["probabilities"]
    engine = OpenVINOEngine(ranged, CPU, "int8")
    in_8_bits = engine.run({"pixels": pixels})["probabilities"]
    assert engine.precision == "int8"
    assert 0 < np.abs(in_8_bits - in_float).max() < 0.05
    assert (in_8_bits.argmax(axis=1) == in_float.argmax(axis=1)).all()


def test_all_but_the_last_values_get_ranges(ranged: Path) -> None:
    """The input, five activations and four tensors of weights."""
    limits = [node.input_value(2).get_node().data for node in fake_quantizers(ranged)]
    assert len(limits) == 10
    activations = sorted(float(limit) for limit in limits if limit.ndim == 0)
    assert activations == [0.9921875, 6.0, 6.0, 8.0, 14.0, 14.0]


def test_weights_keep_their_stored_steps(ranged: Path) -> None:
    limits = [node.input_value(2).get_node().data for node in fake_quantizers(ranged)]
    first = next(limit for limit in limits if limit.shape == (8, 1, 1, 1))
    assert np.allclose(first, 127 * SCALE)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        json.dumps({"input": [0, 1], "steps": [{"operation": "CONV_2D"}]}),
        json.dumps({"input": [0, 1], "steps": steps()[1:]}),
        json.dumps({"input": [0, 1], "steps": [{**step, "weight_scale": None} for step in steps()]}),
    ],
)
def test_foreign_ranges_are_refused_and_auto_uses_float(
    ranged: Path, content: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (ranged / FILE).write_text(content)
    with pytest.raises(QuantizationMisfit):
        quantize(openvino.Core().read_model(ranged), ranged)
    with pytest.raises(EngineError, match=r"^OpenVINO cannot run it in int8: "):
        OpenVINOEngine(ranged, CPU, "int8")
    monkeypatch.setattr("savedmodel_engines.is_worthwhile", lambda savedmodel: True)
    assert OpenVINOEngine(ranged, CPU, "auto").precision == "f32"
    assert "computing in float" in caplog.text


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("sse2 avx2 avx512f", False), ("avx2 avx_vnni", True), ("avx512f avx512_vnni", True), ("amx_int8", True)],
)
def test_auto_is_8_bits_on_capable_cpus(ranged: Path, tmp_path: Path, flags: str, expected: bool) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(f"flags\t\t: fpu {flags} bmi2\n")
    assert is_worthwhile(ranged, info) is expected


def test_auto_is_float_without_ranges(tiny_savedmodel: Path) -> None:
    assert not is_worthwhile(tiny_savedmodel)
    assert OpenVINOEngine(tiny_savedmodel, CPU, "auto").precision == "f32"
    with pytest.raises(EngineError, match=r"no usable assets\.extra/quantization\.json"):
        OpenVINOEngine(tiny_savedmodel, CPU, "int8")
