"""The fallback classifier: whole without any download, and right about birds that ImageNet knows."""

from __future__ import annotations

import numpy as np
import pytest
from bird_pixels import PixelFormat, decode

from tools.models.weights import imagenet_birds
from tools.models.weights.classifier import Classifier

WANTED = PixelFormat(width=224, height=224, max_pixels=50_000_000, max_bytes=20_000_000)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return imagenet_birds.load()


def test_has_59_bird_classes_and_background(classifier: Classifier) -> None:
    assert len(classifier.labels) == 60
    assert len(set(classifier.labels)) == 60
    assert classifier.labels[0] == "Gallus gallus domesticus (Rooster)"
    assert classifier.labels[-1] == "background"


def test_answers_with_probabilities(classifier: Classifier) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    rows = classifier.predict(noise).numpy()
    assert rows.shape == (2, 60)
    assert (rows >= 0).all()
    assert np.allclose(rows.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("photo", "label", "score"),
    [
        ("parrot.jpg", "Ara (Macaw)", 0.87),
        ("bird.bmp", "Poecile (Chickadee)", 0.93),
        ("cat_720p.jpg", "background", 0.99),
    ],
)
def test_names_the_sample_photos(
    classifier: Classifier, photos: dict[str, bytes], photo: str, label: str, score: float
) -> None:
    row = classifier.predict(decode(photos[photo], WANTED)[None]).numpy()[0]
    assert classifier.labels[row.argmax()] == label
    assert row.max() == pytest.approx(score, abs=0.03)
