"""The one place that turns errors into a line and an exit code."""

from __future__ import annotations

import builtins
import signal
import subprocess
import sys
from typing import Any

import birds_client
import pytest
from typer.testing import CliRunner

from frontend import VERSION
from tools import ROOT
from tools.cli.app import app
from tools.cli.main import main


@pytest.fixture(autouse=True)
def default_interrupt() -> Any:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_during_an_import_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real_import = builtins.__import__

    def interrupted(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "tools.serve.service":
            raise KeyboardInterrupt
        return real_import(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", interrupted)
    assert main(["serve"]) == 130
    assert capsys.readouterr().err == "birds: interrupted\n"


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"birds {VERSION}\n"
    assert birds_client.__version__ == VERSION


def test_wrong_choice_is_told_from_the_right_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "a.jpg", "--format", "xml"]) == 2
    text = "Invalid value for '--format' / '-f': 'xml' is not one of 'table', 'json', 'jsonl', 'csv'."
    assert capsys.readouterr().err == f"birds: {text} (see birds classify --help)\n"


def test_help_fits_a_screen_and_begins_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Example:"
    assert len(lines) <= 24
    for command in ("serve", "classify", "evaluate", "models", "bench", "perf", "soak"):
        assert any(line.strip().startswith(command) for line in lines)


def test_help_imports_nothing_heavy() -> None:
    script = "import sys; from tools.cli.main import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stderr.split())
    assert not loaded & {"aiohttp", "fastapi", "httpx", "numpy", "pydantic", "rich.progress", "tritonclient"}


@pytest.mark.parametrize("scale", [["--scale", "-1..1"], ["--scale=-1..1"]], ids=["space", "equals sign"])
def test_scale_may_start_with_a_minus(scale: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "publish", "--source", "imagenet-birds", *scale]) == 2
    assert "need --savedmodel" in capsys.readouterr().err  # and not: option --scale needs a value


@pytest.mark.parametrize("command", ["bench", "perf", "soak"])
def test_missing_packages_are_named_before_anything_runs(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tools.cli.measure.find_spec", lambda name: None)
    assert main([command]) == 2
    error = capsys.readouterr().err
    assert "measuring needs matplotlib and psutil" in error
    assert "make bench" in error
    assert error.count("\n") == 1


def test_make_help_names_the_options_of_serve() -> None:
    """`make serve ARGS=--help` installs nothing, so its text is the Makefile's own."""
    done = subprocess.run(
        ["make", "serve", "ARGS=--help"], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    shown = CliRunner().invoke(app, ["serve", "--help"]).output
    options = {word for word in shown.split() if word.startswith("--triton-")}
    assert len(options) == 3
    assert all(option in done.stdout for option in options)


def test_no_text_asks_for_a_module_of_tools() -> None:
    """Documents and messages name `birds`; containers run the two modules that need the standard library alone."""
    texts = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "tools").rglob("*.py"),
    ]
    allowed = ("tools.cli", "tools.triton.probe", "tools.triton.entrypoint", "tools.serve.preflight")
    found = [
        f"{text.name}: {line.strip()}"
        for text in texts
        for line in text.read_text(encoding="utf-8").splitlines()
        if "python -m tools." in line and not any(name in line for name in allowed)
    ]
    assert found == []
