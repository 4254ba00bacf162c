"""The help of every command: it teaches with an example, and fits a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from tools.cli.app import app
from tools.cli.main import main


def commands(command: Any, path: list[str]) -> Iterator[list[str]]:
    yield path
    for name, sub_command in getattr(command, "commands", {}).items():
        if not sub_command.hidden:
            yield from commands(sub_command, [*path, name])


@pytest.mark.parametrize("path", list(commands(typer.main.get_command(app), [])), ids=" ".join)
def test_help_has_an_example_and_fits(
    path: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*path, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"  {' '.join(['birds', *path])}") for line in lines)
    assert [line for line in lines if len(line) > 80] == []


@pytest.mark.parametrize("path", [[], ["models"]], ids=["birds", "models"])
def test_group_alone_shows_its_help(path: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*path, "--help"]) == 0
    shown = capsys.readouterr().out
    assert main(path) == 2
    assert capsys.readouterr().err == shown
