"""Agreement of a running engine variant with LiteRT, whose answers are in reference.tsv in the folder of the photos."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tritonclient.grpc

from tools.measure.photos import photo_folders
from tools.triton import direct_grpc

_ALL_LABELS = 1_000_000  # more than any classifier has: Triton answers with as many as there are


@dataclass(frozen=True)
class Reference:
    """LiteRT's best label of a photo, and its score."""

    photo: Path
    label: str
    score: float


def references() -> list[Reference]:
    """Every photo in BIRDS_TEST_PHOTOS that a reference.tsv lists. Its columns are file, size, label, score."""
    found = []
    for folder in photo_folders():
        if (table := folder / "reference.tsv").is_file():
            with table.open(newline="", encoding="utf-8") as file:
                rows = list(csv.reader(file, delimiter="\t"))[1:]
            found += [Reference(folder / name, _plain(label), float(score)) for name, _, label, score in rows]
    return found


def measure(grpc_url: str, expected: list[Reference]) -> dict[str, float]:
    """Ask the ensemble for the scores of every photo, and compare them with the reference.

    `agreeing` is the share of photos with the same best label, `score_difference` the mean difference of its score.
    """
    agreeing, differences = 0, []
    with direct_grpc.connect(grpc_url) as client:
        for reference in expected:
            scores = _scores(client, reference.photo.read_bytes())
            agreeing += max(scores, key=scores.__getitem__) == reference.label
            differences.append(abs(scores.get(reference.label, 0.0) - reference.score))
    return {"agreeing": agreeing / len(expected), "score_difference": float(np.mean(differences))}


def _scores(client: tritonclient.grpc.InferenceServerClient, image: bytes) -> dict[str, float]:
    tensor = tritonclient.grpc.InferInput("IMAGE", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[image]], dtype=np.object_))
    output = tritonclient.grpc.InferRequestedOutput("PROBABILITIES", class_count=_ALL_LABELS)
    entries = client.infer("birds", [tensor], outputs=[output]).as_numpy("PROBABILITIES").flat
    parts = (entry.decode("utf-8").split(":", 2) for entry in entries)
    return {_plain(label): float(score) for score, _, label in parts}


def _plain(label: str) -> str:
    return label.replace("\\xd7", "×")
