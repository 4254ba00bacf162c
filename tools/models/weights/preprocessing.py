"""From the pixels of an image, 0 to 255 in RGB, to the values that a model was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from tools.models.options import Scale

# ImageNet's mean and deviation: for values from 0 to 1 in RGB (torchvision and most newer models), and for values from
# 0 to 255 in BGR (Caffe's models, such as the original VGG and ResNet).
_IMAGENET_MEAN, _IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE_MEAN = (103.939, 116.779, 123.68)

_SCALES: dict[Scale, Callable[[tf.Tensor], tf.Tensor]] = {
    "0..255": lambda x: x,
    "0..1": lambda x: x / 255.0,
    "-1..1": lambda x: x / 127.5 - 1.0,
    "imagenet": lambda x: (x / 255.0 - _IMAGENET_MEAN) / _IMAGENET_DEVIATION,
    "caffe": lambda x: x[..., ::-1] - _CAFFE_MEAN,
}


def scale_pixels(
    pixels: tf.Tensor, dtype: tf.DType, scale: Scale | None, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tf.Tensor:
    """Convert pixels, uint8 `[n, height, width, 3]`, to the model's input of type `dtype`.

    `mean` and `std`, one number for each channel, apply to the values that `scale` makes. Computed in float32: the
    16-bit types would round first.
    """
    if scale is None:
        return tf.cast(pixels, dtype)
    values = _SCALES[scale](tf.cast(pixels, tf.float32))
    if mean:
        values = values - tf.constant(mean, tf.float32)
    if std:
        values = values / tf.constant(std, tf.float32)
    return tf.cast(values, dtype)
