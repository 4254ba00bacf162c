"""Small SavedModels of each common kind, exported by the installed TensorFlow or Keras."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

Rows = Callable[[Any], Any]


def save_module(
    directory: Path,
    rows: Rows,
    size: tuple[int | None, int | None] = (32, 32),
    dtype: Any = tf.uint8,
    signature: str = "serving_default",
    input_name: str = "keras_tensor",
    batch: int | None = None,
) -> Path:
    """A tf.Module whose one signature maps pixels to `rows`: a tensor, or several by name."""
    module = tf.Module()

    def call(pixels: Any) -> Any:
        answer = rows(pixels)
        return answer if isinstance(answer, dict) else {"output_0": answer}

    spec = tf.TensorSpec([batch, *size, 3], dtype, name=input_name)
    module.f = tf.function(call, input_signature=[spec])
    tf.saved_model.save(module, str(directory), signatures={signature: module.f})
    return directory


def mean_colours(pixels: Any) -> Any:
    """Rows `[n, 3]`: the mean of each channel, in whatever scale the pixels have."""
    return tf.reduce_mean(tf.cast(pixels, tf.float32), axis=[1, 2])


def save_hub_module(directory: Path, classifier: str = "image_classification", size: int = 32) -> Path:
    """A SavedModel like a TF1 hub module: no tags, several outputs, and two signatures, `default` and `classifier`.

    If `default` is not the classifier, it answers with features, as many as there are labels.
    """
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.float32, [None, size, size, 3], name="images")
        weights = v1.get_variable("weights", initializer=tf.eye(3) * 5.0, use_resource=False)
        features = tf.reduce_mean(images, axis=[1, 2])
        logits = features @ weights
        session.run(v1.global_variables_initializer())
        info = v1.saved_model.build_tensor_info

        def signature(**outputs: Any) -> Any:
            return v1.saved_model.build_signature_def(
                {"images": info(images)}, {name: info(tensor) for name, tensor in outputs.items()}, "hub"
            )

        builder = v1.saved_model.Builder(str(directory))
        signatures = {
            "default": signature(default=features),
            classifier: signature(logits=logits, default=logits, features=features * 2),
        }
        builder.add_meta_graph_and_variables(session, ["train"], signature_def_map=signatures)
        builder.add_meta_graph([], signature_def_map=signatures)
        builder.save()
    return directory


def save_tf1_table(directory: Path) -> Path:
    """A TF1 SavedModel whose scores come from a look-up table, which an operation of the graph fills."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.float32, [None, 32, 32, 3], name="images")
        filling = tf.lookup.KeyValueTensorInitializer([0, 1, 2], [0.0, 1.0, 2.0], tf.int64, tf.float32)
        table = tf.lookup.StaticHashTable(filling, 0.0)
        scores = table.lookup(tf.cast(tf.reduce_mean(images, axis=[1, 2]), tf.int64))
        session.run(v1.tables_initializer())
        info = v1.saved_model.build_tensor_info
        signature = v1.saved_model.build_signature_def({"images": info(images)}, {"logits": info(scores)}, "classify")
        builder = v1.saved_model.Builder(str(directory))
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, main_op=v1.tables_initializer()
        )
        builder.save()
    return directory


def save_keras_mobilenet(directory: Path, labels: int, size: int = 96) -> Path:
    """A Keras model as users have it: MobileNetV2 with random weights, exported by `model.export`."""
    import keras

    keras.utils.set_random_seed(1)
    model = keras.applications.MobileNetV2((size, size, 3), alpha=0.35, weights=None, classes=labels)
    model.export(str(directory), verbose=False)
    return directory
