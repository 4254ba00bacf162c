"""The probabilities that a model gives one image, with their labels, and the best of them as predictions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LABEL = re.compile(r"(?P<name>.+?) \((?P<common>.+)\)")
BACKGROUND = "background"  # the label for images without a bird
_DECIMALS = 6  # as in Triton's classification strings

Row = NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """One label with its score, a probability from 0 to 1. Labels without a common name have None."""

    bird_name: str
    common_name: str | None
    score: float


class Labels:
    """The labels of one model version, in the order of its outputs."""

    def __init__(self, texts: Iterable[str]) -> None:
        """`texts` have the form "Scientific name (Common name)" or "name"."""
        self._names: list[tuple[str, str | None]] = []
        self._positions: dict[str, list[int]] = {}
        for position, text in enumerate(texts):
            match = _LABEL.fullmatch(text)
            name, common = match.group("name", "common") if match else (text, None)
            self._names.append((name, common))
            self._positions.setdefault(name, []).append(position)

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[tuple[str, str | None]]:
        """Yield the `bird_name` and the `common_name` of each label."""
        return iter(self._names)

    def prediction(self, position: int, score: float) -> Prediction:
        return Prediction(*self._names[position], round(score, _DECIMALS))

    def positions(self, names: Collection[str]) -> NDArray[np.intp]:
        """Return the positions of the labels with these `bird_name`s; unknown names are left out."""
        found = [position for name in names for position in self._positions.get(name, ())]
        return np.array(sorted(found), np.intp)


@dataclass(frozen=True)
class ImageScores:
    """What a model says about one image: `row` is float32 of shape [labels]."""

    row: Row
    labels: Labels

    def best(self, k: int, among: Collection[str] | None = None) -> list[Prediction]:
        """Return the `k` most probable labels, best first; of equal scores the earlier label comes first.

        `among` restricts them to labels with these `bird_name`s. The scores stay those that the model gave.
        """
        positions = np.arange(len(self.row)) if among is None else self.labels.positions(among)
        candidates = self.row[positions]
        predictions = []
        for _ in range(min(k, len(candidates))):  # faster than sorting all of them for up to 50 of 965
            place = candidates.argmax()
            predictions.append(self.labels.prediction(int(positions[place]), float(candidates[place])))
            candidates[place] = -np.inf
        return predictions


def parse_classification(entries: Iterable[bytes]) -> ImageScores:
    """Return the scores in the strings of Triton's classification extension, `score:index:label`, in any order."""
    scores: dict[int, float] = {}
    texts: dict[int, str] = {}
    for entry in entries:
        score, index, *label = entry.decode("utf-8").split(":", 2)
        scores[int(index)] = float(score)
        texts[int(index)] = label[0] if label else index
    positions = sorted(scores)
    return ImageScores(
        np.array([scores[position] for position in positions], np.float32), Labels(texts[p] for p in positions)
    )
