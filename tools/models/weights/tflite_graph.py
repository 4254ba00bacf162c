"""Rebuilds a quantized TFLite graph with float TensorFlow operations.

Supports the six operators of an image classifier, and refuses others by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

_OPERATOR_NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_PADDING = {schema.Padding.SAME: "SAME", schema.Padding.VALID: "VALID"}
_STORAGE = {schema.TensorType.UINT8: np.uint8, schema.TensorType.INT32: np.int32}
_ACTIVATIONS = {
    schema.ActivationFunctionType.NONE: tf.identity,
    schema.ActivationFunctionType.RELU: tf.nn.relu,
    schema.ActivationFunctionType.RELU6: tf.nn.relu6,
}


class TfliteGraph:
    """A TFLite file as a callable: quantized uint8 input `[n, h, w, c]` to the real-valued output `[n, classes]`."""

    def __init__(self, path: Path) -> None:
        """Raises ValueError for tensor types that a uint8 image classifier does not have."""
        self._model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
        self._graph = self._model.subgraphs[0]
        self._constants = {
            index: self._dequantize(index)
            for index, tensor in enumerate(self._graph.tensors)
            if self._model.buffers[tensor.buffer].data is not None
        }

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the input image in pixels."""
        _, height, width, _ = self._graph.tensors[self._graph.inputs[0]].shape
        return int(height), int(width)

    def __call__(self, quantized: tf.Tensor) -> tf.Tensor:
        source = self._graph.inputs[0]
        scale, zero_point = self._quantization(source)
        values: dict[int, Any] = {**self._constants, source: (tf.cast(quantized, tf.float32) - zero_point) * scale}
        for operator in self._graph.operators:
            inputs = [values[index] for index in operator.inputs]
            values[operator.outputs[0]] = self._apply(operator, inputs)
        return values[self._graph.outputs[0]]

    @property
    def quantization(self) -> dict[str, Any]:
        """The range of the input's values, and of each operator's values, in the order of execution.

        For an operator with weights also `weight_scale`, the difference between two neighbouring weights.
        """
        steps = []
        for operator in self._graph.operators:
            if (name := self._name(operator)) != "SOFTMAX":
                low, high = self._range(operator.outputs[0])
                weights = self._quantization(operator.inputs[1])[0] if name in _WEIGHTED else None
                steps.append({"operation": name, "low": low, "high": high, "weight_scale": weights})
        return {"input": self._range(self._graph.inputs[0]), "steps": steps}

    def _range(self, index: int) -> tuple[float, float]:
        scale, zero_point = self._quantization(index)
        return -zero_point * scale, (255 - zero_point) * scale

    def _name(self, operator: Any) -> str:
        code = self._model.operatorCodes[operator.opcodeIndex]
        return str(_OPERATOR_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)])

    def _quantization(self, index: int) -> tuple[float, float]:
        quantization = self._graph.tensors[index].quantization
        if len(quantization.scale) != 1:
            raise ValueError(f"tensor {index} is not quantized per tensor")
        return float(quantization.scale[0]), float(quantization.zeroPoint[0])

    def _dequantize(self, index: int) -> np.ndarray:
        tensor = self._graph.tensors[index]
        if tensor.type not in _STORAGE:
            raise ValueError(f"tensor {index} has a type that is neither uint8 nor int32")
        scale, zero_point = self._quantization(index)
        stored = np.frombuffer(self._model.buffers[tensor.buffer].data.tobytes(), _STORAGE[tensor.type])
        return ((stored.astype(np.float64) - zero_point) * scale).astype(np.float32).reshape(tensor.shape)

    def _apply(self, operator: Any, inputs: list[Any]) -> tf.Tensor:
        name = self._name(operator)
        options = operator.builtinOptions
        if name == "CONV_2D":
            kernel = np.transpose(inputs[1], (1, 2, 3, 0))  # OHWI, as TFLite stores it, to HWIO
            strides = [options.strideH, options.strideW]
            result = tf.nn.conv2d(inputs[0], kernel, strides, _PADDING[options.padding]) + inputs[2]
        elif name == "DEPTHWISE_CONV_2D":
            kernel = np.transpose(inputs[1], (1, 2, 3, 0))  # 1HWC to HWC1
            strides = [1, options.strideH, options.strideW, 1]
            result = tf.nn.depthwise_conv2d(inputs[0], kernel, strides, _PADDING[options.padding]) + inputs[2]
        elif name == "ADD":
            result = inputs[0] + inputs[1]
        elif name == "AVERAGE_POOL_2D":
            window, strides = [options.filterHeight, options.filterWidth], [options.strideH, options.strideW]
            result = tf.nn.avg_pool2d(inputs[0], window, strides, _PADDING[options.padding])
        elif name == "FULLY_CONNECTED":
            flat = tf.reshape(inputs[0], [-1, inputs[1].shape[1]])
            result = tf.matmul(flat, inputs[1].T) + inputs[2]
        elif name == "SOFTMAX":
            return tf.nn.softmax(inputs[0] * options.beta)
        else:
            raise ValueError(f"the TFLite operator {name} is not supported")
        return _ACTIVATIONS[options.fusedActivationFunction](result)
