"""Ctrl-C at any moment of a command: exit code 130, one line, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.fake_frontend import FakeFrontend
from tests.support.images import RED, flat
from tools import ROOT

# Python calls an audit hook at every import, file, socket and so on, until it has shut down. So a moment is the number
# of an event, and does not depend on the speed of the machine. Counting starts when `birds` starts to run a command.
SITECUSTOMIZE = """
import os, signal, sys

moment = int(os.environ["MOMENT"])
counted = os.open(os.environ["COUNTED"], os.O_WRONLY | os.O_CREAT)
count = 0

def hook(event, arguments):
    global count
    if count or (event == "import" and arguments[0] == "typer.exceptions"):
        count += 1
        os.pwrite(counted, b"%d" % count, 0)
        if count == moment:
            os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(hook)
"""
Ended = tuple[int, str, str]


class Moments:
    """Runs `birds` in a folder, and presses Ctrl-C at the event with a number."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._environment = {**os.environ, "BIRDS_URL": url, "LC_ALL": "C.UTF-8", "PYTHONPATH": f"{folder}:{ROOT}"}
        (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)

    def run(self, arguments: list[str], moment: int) -> Ended:
        environment = {**self._environment, "MOMENT": str(moment), "COUNTED": str(self._folder / f"{moment}.count")}
        done = subprocess.run(
            [sys.executable, "-m", "tools.cli", *arguments],
            cwd=self._folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout, done.stderr

    def count(self, arguments: list[str]) -> tuple[int, str]:
        """The number of events of a whole run, and its output."""
        code, output, errors = self.run(arguments, 0)
        assert (code, errors) == (0, "")
        return int((self._folder / "0.count").read_text()), output


@pytest.fixture
def moments(tmp_path: Path) -> Iterator[Moments]:
    (tmp_path / "photo.png").write_bytes(flat(RED))
    (tmp_path / "photos" / "Rubra maxima").mkdir(parents=True)
    (tmp_path / "photos" / "Rubra maxima" / "a.png").write_bytes(flat(RED))
    with FakeFrontend() as frontend:
        yield Moments(tmp_path, frontend.url("/"))


def swept(moments: Moments, arguments: list[str], number: int) -> None:
    """Press Ctrl-C at `number` moments of the command, spread over the whole run."""
    total, whole = moments.count(arguments)
    chosen = [1 + (total - 1) * n // (number - 1) for n in range(number)]
    with ThreadPoolExecutor(2) as pool:
        endings = list(pool.map(lambda moment: moments.run(arguments, moment), chosen))
    for moment, (code, output, errors) in zip(chosen, endings, strict=True):
        if (code, output, errors) == (0, whole, "") and moment > total * 0.9:
            continue  # the work was done, and Python was shutting down
        assert (code, errors.count("\n")) == (130, 1), (moment, total, errors)
        assert errors.lower().startswith("birds: interrupted"), (moment, total, errors)


@pytest.mark.parametrize("command", ["classify photo.png", "evaluate photos"])
def test_ends_with_130_at_every_moment(moments: Moments, command: str) -> None:
    swept(moments, command.split(), 5)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["classify photo.png", "classify photo.png -f json", "evaluate photos"])
def test_ends_with_130_at_sixty_moments(moments: Moments, command: str) -> None:
    swept(moments, command.split(), 60)


@pytest.mark.parametrize("command", ["serve", "bench --quick", "perf", "soak", "models build", "models list"])
def test_ends_with_130_during_imports(moments: Moments, command: str) -> None:
    assert moments.run(command.split(), 400) == (130, "", "birds: interrupted\n")


def test_program_in_the_background_ignores_ctrl_c(moments: Moments) -> None:
    """A shell without job control starts background programs with SIGINT ignored."""
    ignoring = f"trap '' INT; exec {sys.executable} -m tools.cli classify photo.png --quiet"
    environment = {**moments._environment, "MOMENT": "500", "COUNTED": "/dev/null"}
    done = subprocess.run(
        ["sh", "-c", ignoring], cwd=moments._folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
