"""The figures of an evaluation, counted by hand."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tools.measure.evaluation.figures import Answer, Confusion, Step, figures
from tools.measure.evaluation.precision_plot import precision_svg
from tools.measure.evaluation.report import as_json, text

RIGHT = {"Owl": frozenset({"Strix", "Athene"}), "background": frozenset({"background"}), "unknown": frozenset[str]()}
ANSWERS = [
    Answer("Owl", ["Strix", "Corvus", "Pica"], 0.9),
    Answer("Owl", ["Athene", "Corvus", "Pica"], 0.3),
    Answer("Owl", ["Corvus", "Strix", "Pica"], 0.8),
    Answer("Owl", ["Corvus", "Pica", "Ardea"], 0.2),
    Answer("background", ["background", "Pica", "Ardea"], 0.1),
    Answer("background", ["Pica", "background", "Ardea"], 0.25),
    Answer("unknown", ["Ardea", "Pica", "Strix"], 0.5),
]


def test_figures_are_those_counted_by_hand() -> None:
    found = figures(ANSWERS, RIGHT, not_sure_below=0.4)
    assert (found.photos, found.folders, found.top_1, found.top_3) == (7, 3, 3, 5)
    assert found.confusions == [
        Confusion("Owl", "Corvus", photos=2, sure=1),
        Confusion("unknown", "Ardea", photos=1, sure=1),
        Confusion("background", "Pica", photos=1, sure=0),
    ]
    assert (found.doubted.answers, found.doubted.right) == (3, 1)  # without the answer "background"
    assert (found.trusted.answers, found.trusted.right) == (3, 1)
    by_score = {step.score: (step.answers, step.right) for step in found.steps}
    assert (by_score[0.0], by_score[0.5], by_score[0.85], by_score[0.95]) == ((6, 2), (3, 1), (1, 1), (0, 0))
    assert found.good_from == 0.85


@pytest.mark.parametrize(
    ("right", "answers", "interval"),
    [(0, 0, (0, 1)), (0, 10, (0, 0.278)), (9, 10, (0.596, 0.982)), (90, 100, (0.826, 0.945)), (10, 10, (0.722, 1))],
)
def test_interval_is_wilsons(right: int, answers: int, interval: tuple[float, float]) -> None:
    assert Step(0, answers, right).interval == pytest.approx(interval, abs=0.001)


def test_report_names_the_confusions_and_the_doubt() -> None:
    lines = list(text(figures(ANSWERS, RIGHT, not_sure_below=0.4), "2", {"Corvus": "Crow"}))
    assert lines[:3] == ["Version 2: 7 photos in 3 folders", "top-1   42.9%  (3 of 7)", "top-3   71.4%  (5 of 7)"]
    assert "Owl         Crow (Corvus)       2             1" in lines
    assert "≥ 0.80        2       1    50% (9% to 91%)" in lines
    assert "Not sure, with a score below 0.4 (BIRDS_NOT_SURE_BELOW): 1 of 3 answers right" in lines
    assert lines[-1].startswith("Fewer than 300 photos")


@pytest.mark.parametrize("answers", [ANSWERS, ANSWERS[:1], ANSWERS[4:5], [Answer("Owl", [], 0)]], ids=len)
def test_any_answers_make_a_report_and_a_plot(answers: list[Answer]) -> None:
    found = figures(answers, RIGHT, not_sure_below=0)
    assert list(text(found, None, {}))
    assert as_json(found, "1", {"a.jpg": "not_an_image"})["failures"] == {"a.jpg": "not_an_image"}
    drawn = ElementTree.fromstring(precision_svg(found, "<1 & 2>"))
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
