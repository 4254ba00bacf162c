"""A SavedModel with predictable answers: it names the strongest colour of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

LABELS = ["Rubra maxima (Great Red)", "Viridis minor (Little Green)", "Caerulea (Blue × White hybrid)", "background"]


def save_tiny_model(directory: Path, input_name: str = "pixels", output_name: str = "probabilities") -> None:
    """Write a SavedModel: mean colour to the probabilities of LABELS; grey pictures are background."""
    import tensorflow as tf

    def predict(pixels: Any) -> dict[str, Any]:
        colours = tf.reduce_mean(tf.cast(pixels, tf.float32), axis=[1, 2]) / 255.0
        background = tf.fill([tf.shape(colours)[0], 1], 0.55)
        return {output_name: tf.nn.softmax(10.0 * tf.concat([colours, background], axis=1))}

    module = tf.Module()
    module.predict = tf.function(
        predict, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name=input_name)]
    )
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.predict})
