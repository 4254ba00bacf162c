"""SavedModels of TensorFlow 1, hub modules among them: their variables, of an extinct kind, become constants."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

# A hub module has two graphs: the one for use has no tags.
_SERVING_TAGS: tuple[list[str], ...] = (["serve"], [])


def is_tf1(savedmodel: Path) -> bool:
    """Whether it lacks the object graph that TensorFlow 2 writes. Raises ValueError if it cannot be read."""
    return not any(graph.HasField("object_graph_def") for graph in _read(savedmodel).meta_graphs)


def load_tf1(savedmodel: Path, choose: Callable[[dict[str, Any]], str]) -> tuple[Any, dict[str, tf.TensorSpec]]:
    """Return a function from inputs to outputs, by name, and what it takes.

    `choose` picks the name of a signature. Raises what TensorFlow raises for a graph that it cannot load.
    """
    v1 = tf.compat.v1
    tags = _tags(savedmodel)
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        signatures = dict(v1.saved_model.load(session, tags, str(savedmodel)).signature_def)
        signature = signatures[choose(signatures)]
        inputs = {name: info.name for name, info in signature.inputs.items()}
        outputs = {name: info.name for name, info in signature.outputs.items()}
        specs = {name: tf.TensorSpec.from_tensor(graph.get_tensor_by_name(tensor)) for name, tensor in inputs.items()}
        operations = sorted({tensor.partition(":")[0] for tensor in outputs.values()})
        frozen = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), operations)
    imported = v1.wrap_function(lambda: tf.import_graph_def(frozen, name=""), [])
    tensor = imported.graph.get_tensor_by_name
    pruned = imported.prune(
        [tensor(name) for name in inputs.values()], {name: tensor(output) for name, output in outputs.items()}
    )
    return lambda **values: pruned(*(values[name] for name in inputs)), specs


def _read(savedmodel: Path) -> Any:
    try:
        return saved_model_pb2.SavedModel.FromString((savedmodel / "saved_model.pb").read_bytes())
    except Exception as error:  # protobuf's DecodeError has a different home in each of its implementations
        raise ValueError("its saved_model.pb is damaged") from error


def _tags(savedmodel: Path) -> list[str]:
    available = [list(graph.meta_info_def.tags) for graph in _read(savedmodel).meta_graphs]
    return next((tags for tags in _SERVING_TAGS if tags in available), available[0])
