"""The best labels of a row, held to a plain sort."""

from __future__ import annotations

import random

import numpy as np
import pytest

from frontend.inference.scores import ImageScores, Labels, Prediction, parse_classification

TEXTS = [
    "Ara macao (Scarlet Macaw)",
    "Larus canus (Gull (common))",
    "background",
    "Ara macao (Scarlet Macaw)",
    "Pica pica",
]


def plain(row: list[float], names: list[str], k: int, among: set[str] | None) -> list[tuple[str, float]]:
    kept = [position for position in range(len(row)) if among is None or names[position] in among]
    return [(names[position], round(row[position], 6)) for position in sorted(kept, key=lambda at: -row[at])[:k]]


@pytest.mark.parametrize("seed", range(50))
def test_best_labels_are_those_of_a_plain_sort(seed: int) -> None:
    chance = random.Random(seed)
    names = [f"bird {chance.randrange(30)}" for _ in range(chance.randrange(1, 40))]
    row = np.array([chance.choice((0.0, 0.25, 0.5, chance.random())) for _ in names], np.float32)
    among = None if chance.random() < 0.5 else {f"bird {chance.randrange(40)}" for _ in range(chance.randrange(8))}
    k = chance.randrange(12)
    found = [(best.bird_name, best.score) for best in ImageScores(row, Labels(names)).best(k, among)]
    assert found == plain([float(score) for score in row], names, k, among)


def test_labels_have_scientific_and_common_names() -> None:
    scores = ImageScores(np.array([0.1, 0.2, 0.3, 0.4, 0.5], np.float32), Labels(TEXTS))
    assert scores.best(2) == [Prediction("Pica pica", None, 0.5), Prediction("Ara macao", "Scarlet Macaw", 0.4)]
    assert scores.best(10, {"Ara macao", "Larus canus"}) == [
        Prediction("Ara macao", "Scarlet Macaw", 0.4),
        Prediction("Larus canus", "Gull (common)", 0.2),
        Prediction("Ara macao", "Scarlet Macaw", 0.1),
    ]


def test_classification_strings_may_come_in_any_order() -> None:
    scores = parse_classification([b"0.900000:1:Pica: pica (Magpie)", b"0.100000:0:background", b"0.000000:2"])
    assert scores.best(3) == [
        Prediction("Pica: pica", "Magpie", 0.9),
        Prediction("background", None, 0.1),
        Prediction("2", None, 0.0),
    ]
