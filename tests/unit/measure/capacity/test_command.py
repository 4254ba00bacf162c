"""python -m tools.measure.capacity, as it is typed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.processes import descendants
from tools.measure.capacity import __main__ as command
from tools.measure.capacity.validation import validate


def test_the_page_says_what_the_command_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 0
    text = capsys.readouterr().out
    assert text in command.PAGE.read_text(encoding="utf-8"), "tools.measure.capacity --write brings it up to date"


def test_rates_and_assumptions_are_the_users(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--rate", "500", "--rate", "7000", "--core-hour", "0.02"]) == 0
    text = capsys.readouterr().out
    assert "| 500 | CPU |" in text
    assert "| 7,000 | GPU (not measured) |" in text
    assert "`--core-hour 0.02`" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rate", "0"], "more than 0"),
        (["--rate", "nan"], "no number of 0 or more"),
        (["--triton-cores", "0"], "less than 1"),
        (["--core-hour", "-1"], "no number of 0 or more"),
    ],
)
def test_nonsense_is_refused(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        command.main(arguments)
    assert refused.value.code == 2
    assert words in capsys.readouterr().err


def test_an_unknown_form_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--form", "abacus"]) == 1
    assert "no figures for abacus" in capsys.readouterr().err


def test_a_page_without_its_marks_stays_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("words")
    with pytest.raises(ValueError, match="lacks the lines"):
        command._write("tables", page)
    assert page.read_text() == "words"


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core cannot be two")
def test_the_validation_measures_every_arrangement_and_leaves_nothing_running() -> None:
    before = descendants(os.getpid())
    found = validate("openvino/f32", seconds=1, repeats=1)
    assert len(found.cases) == 3
    assert all(case.measured[0] > 0 and case.failed_images == 0 for case in found.cases)
    assert {"preprocess", "classifier", "triton", "frontend", "others"} <= found.cpu_ms.keys()
    assert descendants(os.getpid()) == before
