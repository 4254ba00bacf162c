"""Google's AIY Birds V1 as a classifier, rebuilt in float from its quantized TFLite file."""

from __future__ import annotations

from tools.models.weights.aiy_files import LABELS, MODEL, NAME
from tools.models.weights.classifier import Classifier
from tools.models.weights.fetch import fetch
from tools.models.weights.tflite_graph import TfliteGraph


def load(mirror: str | None = None) -> Classifier:
    """Fetch, verify and rebuild the classifier. Raises FetchError if its files cannot be downloaded."""
    labels = fetch(LABELS, mirror).read_text(encoding="utf-8")
    graph = TfliteGraph(fetch(MODEL, mirror))
    # The names of two hybrids hold the four characters \xd7 instead of a multiplication sign.
    names = labels.replace(r"\xd7", "×").splitlines()
    return Classifier(NAME, names, graph.input_size, graph, quantization=graph.quantization)
