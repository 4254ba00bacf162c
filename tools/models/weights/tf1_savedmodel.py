"""SavedModels of TensorFlow 1, including hub modules. TensorFlow 2 cannot save their variables: they become constants.

Only the requested outputs are kept. Look-up tables are not supported, because freezing loses their content.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

# A hub module has two graphs. The one without tags is for inference.
_SERVING_TAGS: tuple[list[str], ...] = (["serve"], [])
_TABLES = ("HashTable", "HashTableV2", "MutableHashTable", "MutableHashTableV2", "MutableDenseHashTableV2")


@dataclass(frozen=True)
class Tf1Graph:
    """One signature: its inputs and outputs by name, and how to freeze some of them into a function."""

    inputs: dict[str, tf.TensorSpec]
    output_names: tuple[str, ...]
    function: Callable[[str, tuple[str, ...]], Callable[[tf.Tensor], Mapping[str, tf.Tensor]]]


def is_tf1(savedmodel: Path) -> bool:
    """Whether it lacks the object graph that TensorFlow 2 writes. Raises ValueError if it cannot be read."""
    return not any(graph.HasField("object_graph_def") for graph in _read(savedmodel).meta_graphs)


def load_tf1(savedmodel: Path, choose: Callable[[dict[str, Any]], str]) -> Tf1Graph:
    """Load the signature whose name `choose` picks. Raises what TensorFlow raises for a graph that it cannot load."""
    v1 = tf.compat.v1
    tags = _tags(savedmodel)
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        signatures = dict(v1.saved_model.load(session, tags, str(savedmodel)).signature_def)
        signature = signatures[choose(signatures)]
        inputs = {name: info.name for name, info in signature.inputs.items()}
        outputs = {name: info.name for name, info in signature.outputs.items()}
        specs = {name: tf.TensorSpec.from_tensor(graph.get_tensor_by_name(tensor)) for name, tensor in inputs.items()}
    functions: dict[tuple[str, ...], Any] = {}

    def function(source: str, names: tuple[str, ...]) -> Any:
        if names not in functions:
            wanted = {name: outputs[name] for name in names}
            functions[names] = _freeze(savedmodel, tags, inputs[source], wanted)
        return functions[names]

    return Tf1Graph(specs, tuple(outputs), function)


def _freeze(savedmodel: Path, tags: list[str], source: str, outputs: Mapping[str, str]) -> Any:
    """The part of the graph between the tensor `source` and `outputs`, its variables replaced by their values."""
    v1 = tf.compat.v1
    operations = sorted({tensor.partition(":")[0] for tensor in outputs.values()})
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        v1.saved_model.load(session, tags, str(savedmodel))
        needed = v1.graph_util.extract_sub_graph(graph.as_graph_def(), operations)
        if any(node.op in _TABLES for node in needed.node):
            raise ValueError("it uses a look-up table of TensorFlow 1: export it with TensorFlow 2")
        frozen = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), operations)
    imported = v1.wrap_function(lambda: tf.import_graph_def(frozen, name=""), [])
    tensor = imported.graph.get_tensor_by_name
    return imported.prune([tensor(source)], {name: tensor(output) for name, output in outputs.items()})


def _read(savedmodel: Path) -> Any:
    try:
        return saved_model_pb2.SavedModel.FromString((savedmodel / "saved_model.pb").read_bytes())
    except Exception as error:  # protobuf's DecodeError has a different home in each of its implementations
        raise ValueError("its saved_model.pb is damaged") from error


def _tags(savedmodel: Path) -> list[str]:
    available = [list(graph.meta_info_def.tags) for graph in _read(savedmodel).meta_graphs]
    if not available:
        raise ValueError("its saved_model.pb holds no graph")
    return next((tags for tags in _SERVING_TAGS if tags in available), available[0])
