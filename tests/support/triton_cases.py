"""What the frontend expects of Triton, as cases that the fake and the real one must both pass.

The server has the tiny model as version 1, the default.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from frontend.errors import NotAnImage, UnknownModelVersion
from frontend.inference.client import Inference
from tests.support.images import BLUE, GREEN, GREY, RED, flat
from tests.support.tiny_model import LABELS

Case = Callable[[Inference], Awaitable[None]]


async def names_the_colour(inference: Inference) -> None:
    await inference.catalogue(5)
    for colour, name in ((RED, "Rubra maxima"), (GREEN, "Viridis minor"), (BLUE, "Caerulea"), (GREY, "background")):
        for version in ("1", None):
            [best] = (await inference.scores(flat(colour), 10, version)).best(1)
            assert best.bird_name == name


async def gives_equal_answers_with_and_without_catalogue(inference: Inference) -> None:
    """Without a catalogue the labels come with each answer, as Triton's classification strings."""
    without = (await inference.scores(flat(RED), 10, "1")).best(10)
    await inference.catalogue(5)
    with_catalogue = (await inference.scores(flat(RED), 10, "1")).best(10)
    assert [best.bird_name for best in with_catalogue] == [best.bird_name for best in without]
    assert [best.score for best in with_catalogue] == pytest.approx([best.score for best in without], abs=2e-6)


async def sorts_all_labels_by_score(inference: Inference) -> None:
    await inference.catalogue(5)
    predictions = (await inference.scores(flat(RED), 10, "1")).best(len(LABELS) + 5)
    scores = [prediction.score for prediction in predictions]
    assert len(predictions) == len(LABELS)
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-4)
    assert predictions[0].common_name == "Great Red"


async def rejects_what_is_not_an_image(inference: Inference) -> None:
    with pytest.raises(NotAnImage):
        await inference.scores(b"no image at all", 10, "1")


async def does_not_know_other_versions(inference: Inference) -> None:
    with pytest.raises(UnknownModelVersion):
        await inference.scores(flat(RED), 10, "7")


async def lists_its_versions(inference: Inference) -> None:
    catalogue = await inference.catalogue(5)
    assert catalogue.default == "1"
    assert catalogue.versions["1"].labels == len(LABELS)
    fingerprint = catalogue.versions["1"].fingerprint
    assert fingerprint is not None
    assert len(bytes.fromhex(fingerprint)) == 32


async def answers_probes(inference: Inference) -> None:
    assert await inference.probe(10)


CASES: tuple[Case, ...] = (
    names_the_colour,
    gives_equal_answers_with_and_without_catalogue,
    sorts_all_labels_by_score,
    rejects_what_is_not_an_image,
    does_not_know_other_versions,
    lists_its_versions,
    answers_probes,
)
