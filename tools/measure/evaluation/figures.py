"""The figures of an evaluation: how often answers are right, which are confused, and how that depends on the score."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from frontend.inference.scores import BACKGROUND

_STEPS = [step / 20 for step in range(20)]
_GOOD_PRECISION = 0.9  # an answer that people need not doubt: nine in ten are right
_Z = 1.96  # standard deviations, for an interval of 95%


@dataclass(frozen=True)
class Answer:
    """The names in the answer to one photo, best first, and the score of the first. `folder` is the photo's folder."""

    folder: str
    names: Sequence[str]
    score: float


@dataclass(frozen=True)
class Confusion:
    """Photos of `folder` that got the wrong name `answered`. For `sure` of them, the service was sure of it."""

    folder: str
    answered: str
    photos: int
    sure: int


@dataclass(frozen=True)
class Step:
    """The answers that name a species with a score of at least `score`, and how many of them are right."""

    score: float
    answers: int
    right: int

    @property
    def precision(self) -> float | None:
        return self.right / self.answers if self.answers else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval of the precision, which also holds for few answers."""
        if not self.answers:
            return 0.0, 1.0
        n, share = self.answers, self.right / self.answers
        centre, spread = share + _Z**2 / (2 * n), _Z * sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
        return max((centre - spread) / (1 + _Z**2 / n), 0.0), min((centre + spread) / (1 + _Z**2 / n), 1.0)


@dataclass(frozen=True)
class Figures:
    """`top_1` and `top_3` are numbers of photos whose first answer, or one of the first three, is right."""

    photos: int
    folders: int
    top_1: int
    top_3: int
    confusions: list[Confusion]
    steps: list[Step]
    not_sure_below: float
    doubted: Step  # the answers below `not_sure_below`
    trusted: Step  # the others

    @property
    def good_from(self) -> float | None:
        """The lowest score, in steps of 0.05, for which nine in ten answers with that score or more are right."""
        return next((step.score for step in self.steps if (step.precision or 0) >= _GOOD_PRECISION), None)


def figures(answers: Sequence[Answer], right: Mapping[str, frozenset[str]], not_sure_below: float) -> Figures:
    """Compare answers with what is `right` for each folder. Answers without a name count as wrong."""
    named = [answer for answer in answers if answer.names and answer.names[0] != BACKGROUND]

    def is_right(answer: Answer, among: int = 1) -> bool:
        return not right[answer.folder].isdisjoint(answer.names[:among])

    def step(chosen: Sequence[Answer], score: float) -> Step:
        return Step(score, len(chosen), sum(map(is_right, chosen)))

    trusted = [answer for answer in named if answer.score >= not_sure_below]
    return Figures(
        photos=len(answers),
        folders=len({answer.folder for answer in answers}),
        top_1=sum(map(is_right, answers)),
        top_3=sum(is_right(answer, among=3) for answer in answers),
        confusions=_confusions([answer for answer in answers if answer.names and not is_right(answer)], not_sure_below),
        steps=[step([answer for answer in named if answer.score >= score], score) for score in _STEPS],
        not_sure_below=not_sure_below,
        doubted=step([answer for answer in named if answer.score < not_sure_below], 0),
        trusted=step(trusted, not_sure_below),
    )


def _confusions(wrong: Sequence[Answer], not_sure_below: float) -> list[Confusion]:
    """Return the wrong pairs, most frequent first; of equally frequent pairs, those with more sure answers first."""
    scores: dict[tuple[str, str], list[float]] = defaultdict(list)
    for answer in wrong:
        scores[answer.folder, answer.names[0]].append(answer.score)
    pairs = [
        Confusion(*pair, len(found), sum(score >= not_sure_below for score in found)) for pair, found in scores.items()
    ]
    return sorted(pairs, key=lambda pair: (-pair.photos, -pair.sure, -max(scores[pair.folder, pair.answered])))
