"""Runs a float model in the 8-bit arithmetic that it was trained for. OpenVINO only; independent of Triton.

The SavedModel stays in float. A file in its folder lists the range of values of every step, in the order of
execution. With such a file, and a CPU that has 8-bit instructions, the ranges become FakeQuantize operations, which
OpenVINO compiles to 8-bit kernels.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path("assets.extra", "quantization.json")
_LEVELS = 256  # of activations
_WEIGHT_LEVELS = 255  # -127 to 127
# OpenVINO's names of the operations that have a range, and their names in the file.
_OPERATIONS = {
    "Convolution": "CONV_2D",
    "GroupConvolution": "DEPTHWISE_CONV_2D",
    "Add": "ADD",
    "AvgPool": "AVERAGE_POOL_2D",
    "MatMul": "FULLY_CONNECTED",
}
_WEIGHTED = ("Convolution", "GroupConvolution", "MatMul")
_BELONGS_TO_STEP = ("Add", "Clamp", "Relu")  # each is computed together with the weighted operation before it
# CPUs without one of these add 8-bit products in 16 bits, which overflow.
_CPU_FLAGS = {"avx512_vnni", "avx_vnni", "amx_int8"}


class QuantizationMisfit(Exception):
    """The ranges do not belong to this graph; the text says where they differ."""


@dataclass(frozen=True)
class _Step:
    operation: str
    low: float
    high: float
    weight_scale: float | None


def is_worthwhile(savedmodel: Path, cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether `savedmodel` has ranges, and this CPU multiplies 8-bit numbers exactly and faster than others."""
    return (savedmodel / FILE).is_file() and bool(_CPU_FLAGS & set(cpu_info.read_text(encoding="utf-8").split()))


def quantize(model: Any, savedmodel: Path) -> None:
    """Insert the ranges of `savedmodel` into `model`, an openvino.Model read from it.

    Raises QuantizationMisfit if there are none, or if they were made for another graph.
    """
    try:
        recorded = json.loads((savedmodel / FILE).read_text(encoding="utf-8"))
        steps = [_Step(**step) for step in recorded["steps"]]
        low, high = map(float, recorded["input"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise QuantizationMisfit(f"no usable {FILE}: {error}") from error
    nodes = [node for node in model.get_ordered_ops() if _has_range(node)]
    found, expected = [_OPERATIONS[node.get_type_name()] for node in nodes], [step.operation for step in steps]
    if found != expected:
        raise QuantizationMisfit(f"{FILE} is for {len(expected)} other operations than the {len(found)} of the graph")
    ends = [_end_of_step(node) for node in nodes]
    _limit(nodes[0].input_value(0), low, high)
    for node, end, step in zip(nodes, ends, steps, strict=True):
        if node.get_type_name() in _WEIGHTED:
            _quantize_weights(node, step)
        if step is not steps[-1]:  # the last values become probabilities, which keep their precision
            _limit(end, step.low, step.high)
    model.validate_nodes_and_infer_types()


def _has_range(node: Any) -> bool:
    """Whether this is a step of its own. Adding a bias is not."""
    kind = node.get_type_name()
    return kind in _OPERATIONS and not (kind == "Add" and _has_constant_input(node))


def _has_constant_input(node: Any) -> bool:
    return any(source.get_node().get_type_name() == "Constant" for source in node.input_values())


def _end_of_step(node: Any) -> Any:
    """The output of a step, after its bias and activation."""
    end = node.output(0)
    while node.get_type_name() in (*_WEIGHTED, *_BELONGS_TO_STEP):
        targets = list(end.get_target_inputs())
        following = targets[0].get_node()
        if len(targets) != 1 or following.get_type_name() not in _BELONGS_TO_STEP or _has_range(following):
            break
        node, end = following, following.output(0)
    return end


def _limit(output: Any, low: float, high: float) -> None:
    targets = output.get_target_inputs()
    limited = _fake_quantize(output, np.float32(low), np.float32(high), _LEVELS)
    for target in targets:
        target.replace_source_output(limited)


def _quantize_weights(node: Any, step: _Step) -> None:
    """Use the step size that the weights were stored with, if -127 to 127 of these steps are enough for a channel.

    Then nothing is rounded.
    """
    weights = node.input_value(1)
    if weights.get_node().get_type_name() != "Constant" or step.weight_scale is None:
        raise QuantizationMisfit(f"the weights of {node.get_friendly_name()} are not a constant, or have no scale")
    values = weights.get_node().data
    if node.get_type_name() == "MatMul":
        axes: tuple[int, ...] = (1,) if node.get_attributes()["transpose_b"] else (0,)
    else:
        axes = tuple(range(values.ndim - 3, values.ndim))  # input channels, height, width
    largest = np.abs(values).max(axis=axes, keepdims=True)
    stored = np.float32(127 * step.weight_scale)
    limit = np.where(largest <= stored * (1 + 1e-4), stored, largest)
    node.input(1).replace_source_output(_fake_quantize(weights, -limit, limit, _WEIGHT_LEVELS))


def _fake_quantize(output: Any, low: Any, high: Any, levels: int) -> Any:
    from openvino import opset13

    bounds = [opset13.constant(np.asarray(bound, np.float32)) for bound in (low, high)]
    return opset13.fake_quantize(output, *bounds, *bounds, levels).output(0)
