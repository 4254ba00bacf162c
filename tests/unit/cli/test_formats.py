"""CSV that a spreadsheet opens without running anything."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tools.cli.formats import Csv, Table

PREDICTION = {"bird_name": "Pica pica", "common_name": "Eurasian Magpie", "score": 0.5}


def rows(image: str, bird: str, message: str) -> list[dict[str, Any]]:
    """What the CSV for one classified and one failed image contains."""
    prediction = {"bird_name": bird, "common_name": bird, "score": 0.5}
    table = Csv([image], None, "en")
    items: list[dict[str, Any]] = [
        {"image": image, "model_version": "1", "predictions": [prediction]},
        {"image": image, "failure": {"code": "not_an_image", "message": message}},
    ]
    lines = [*table.first_lines(), *(line for item in items for line in table.lines(item))]
    return list(csv.DictReader(io.StringIO("\n".join(lines), newline="")))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1.jpg", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", '=HYPERLINK("x")'])
def test_a_formula_gets_an_apostrophe(text: str) -> None:
    classified, failed = rows(text, text, text)
    changed = f"'{text}"
    assert [classified[name] for name in ("image", "bird_name", "common_name")] == [changed] * 3
    assert [failed[name] for name in ("image", "message")] == [changed] * 2
    assert (classified["score"], classified["rank"]) == ("0.5", "1")


@pytest.mark.parametrize(
    ("item", "is_not_sure", "answer"),
    [
        ({"predictions": [PREDICTION]}, False, "identified"),
        ({"predictions": [PREDICTION]}, True, "not_sure"),
        ({"predictions": [PREDICTION | {"bird_name": "background"}], "no_bird": True}, False, "no_bird"),
        ({"predictions": []}, False, "no_match"),
        ({"failure": {"code": "not_an_image", "message": "It is text"}}, False, "failed"),
    ],
)
def test_every_image_has_its_answer(item: dict[str, Any], is_not_sure: bool, answer: str) -> None:
    table = Csv(["a.jpg"], None, "en")
    lines = [*table.first_lines(), *table.lines({"image": "a.jpg", "model_version": "1"} | item, is_not_sure)]
    (row,) = csv.DictReader(lines)
    assert (row["image"], row["answer"]) == ("a.jpg", answer)


@given(st.text(st.characters(exclude_categories=["C"])))
def test_other_texts_stay_as_they_are(text: str) -> None:
    (_, failed) = rows("-", "Pica pica", text)
    assert failed["image"] == "-"
    assert failed["message"] in (text, f"'{text}")
    assert not failed["message"].startswith(("=", "+", "-", "@")) or len(text) == 1


@pytest.mark.parametrize("text", ["不是图片并作为文件添加。" * 8, "This is not an image. " * 8])
def test_reason_of_a_failure_is_wrapped_not_cut(text: str) -> None:
    table = Table(["a.jpg"], 60, "en")
    lines = list(table.lines({"image": "a.jpg", "failure": {"code": "not_an_image", "message": text.strip()}}))
    assert all(cell_len(line) <= 60 for line in lines)
    shown = "".join(line[13:] for line in lines)
    assert shown.replace(" ", "") == f"{text}(not_an_image)".replace(" ", "")
