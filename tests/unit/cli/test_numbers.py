"""Every option and argument that is a number refuses what people do not write as a number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
import typer.main

from tools.cli.app import app
from tools.cli.main import main
from tools.cli.numbers import decimal_number, split_numbers, whole_number


def numeric_parameters(command: Any, path: list[str]) -> Iterator[list[str]]:
    """Yield the words of each command up to the value of a number, by the annotations of its parameters."""
    for name, sub_command in getattr(command, "commands", {}).items():
        yield from numeric_parameters(sub_command, [*path, name])
    for parameter in command.params:
        annotation = parameter.type_descriptor.annotation
        if annotation in (int, float):
            yield [*path, *([parameter.opts[0]] if parameter.param_type_name == "option" else [])]


PARAMETERS = list(numeric_parameters(typer.main.get_command(app), []))


def test_finds_the_numbers_of_all_commands() -> None:
    assert len(PARAMETERS) == 15
    assert ["classify", "--k"] in PARAMETERS
    assert ["models", "retire"] in PARAMETERS


@pytest.mark.parametrize("words", PARAMETERS, ids=" ".join)
def test_every_number_is_read_strictly(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for value in ("1_0", "nan"):
        is_option = words[-1].startswith("--")
        assert main([*words[:-1], f"{words[-1]}={value}"] if is_option else [*words, value]) == 2
        assert f"'{value}' is not a" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["1_0", "inf", "-inf", "nan", "٣", "²", "0x10", " 1", "1 ", "1e400", "", "1,5", "9" * 400]
)
def test_refuses_what_people_do_not_write(text: str) -> None:
    for parse in (whole_number(), decimal_number()):
        with pytest.raises(typer.BadParameter):
            parse(text)


def test_reads_an_exponent() -> None:
    assert decimal_number()("1e-3") == 0.001


@pytest.mark.parametrize(("text", "numbers"), [("", ()), ("1", (1,)), ("1, 2,64", (1, 2, 64))])
def test_reads_several_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert split_numbers(text, whole_number(1), "--concurrency") == numbers


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["perf", "--concurrency", "1,2_0"], "'--concurrency': '2_0' is not a whole number."),
        (["perf", "--request-rates", "0"], "'--request-rates': 0 is not at least 1."),
        (["models", "build", "--mean", "0.5,٣,1"], "'--mean': '٣' is not a number such as 0.5."),
        (["models", "build", "--std", "1,,1"], "'--std': '' is not a number such as 0.5."),
    ],
)
def test_several_numbers_are_read_strictly(words: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert f"Invalid value for {error}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--k", "-1"], "-1 is not at least 0."),
        (["--min-score", "1.5"], "1.5 is not between 0 and 1."),
        (["--k", "0.5"], "'0.5' is not a whole number."),
    ],
)
def test_says_what_is_allowed(words: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "a.jpg", *words]) == 2
    assert error in capsys.readouterr().err
