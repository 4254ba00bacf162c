"""`birds evaluate` on folders as people have them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.fake_frontend import DAMAGED, DOUBTFUL, NO_BIRD, FakeFrontend
from tests.support.images import RED, flat
from tests.support.terminal import run_on_terminal
from tools import ROOT
from tools.cli.main import main
from tools.serve.ports import free_port

BIRD = flat(RED)
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def frontend() -> Iterator[FakeFrontend]:
    frontend = FakeFrontend()
    with frontend:
        yield frontend


@pytest.fixture
def run(
    frontend: FakeFrontend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs the command in this process, in the folder `tmp_path`."""
    monkeypatch.setenv("BIRDS_URL", frontend.url("/"))
    monkeypatch.chdir(tmp_path)

    def evaluate(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = main(["evaluate", *arguments])
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return evaluate


def put(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def test_figures_plot_and_failures(run: Run, tmp_path: Path) -> None:
    put(
        tmp_path / "photos",
        {
            "Rubra maxima/a.png": BIRD,
            "great_red/deep/b.png": BIRD,
            "Blue/c.png": DOUBTFUL,
            "Blue/d.png": BIRD,
            "background/e.png": NO_BIRD,
            "Blue/broken.png": DAMAGED,
            "notes/readme.txt": b"",
            "loose.png": BIRD,
        },
    )
    done = run("photos", "--plot", "plot.svg")
    assert done.returncode == 1
    assert done.stdout.startswith("Version 1: 5 photos in 4 folders\ntop-1   80.0%  (4 of 5)\n")
    assert "Blue       Great Red (Rubra maxima)       1             1" in done.stdout
    assert "Not sure, with a score below 0.4 (BIRDS_NOT_SURE_BELOW): 1 of 1 answer right\n" in done.stdout
    assert "Sure: 2 of 3 answers right\n" in done.stdout
    assert done.stdout.endswith("Wrote plot.svg\n")
    assert "photos/Blue/broken.png: The file is not an image, or it is damaged (not_an_image)" in done.stderr
    assert "2 files skipped (" in done.stderr
    assert (tmp_path / "plot.svg").read_text().startswith("<svg")
    figures = json.loads(run("photos", "--json").stdout)
    assert (figures["top_1"], figures["failures"]) == (4, {"photos/Blue/broken.png": "not_an_image"})


@pytest.mark.parametrize(
    ("files", "arguments", "error"),
    [
        ({}, ["photos"], "photos: this is not a folder"),
        ({"photos/notes.txt": b""}, ["photos"], "photos: there are no photos in folders named for species"),
        ({"photos/a.png": BIRD}, ["photos"], "photos: there are no photos in folders named for species"),
        ({"photos/Rubra minima/a.png": BIRD}, ["photos"], "Rubra minima (nearest: Rubra maxima"),
        ({"photos/Blue/a.png": BIRD}, ["photos", "--plot", "plot.png"], "the plot is an SVG file"),
        ({"photos/Blue/a.png": BIRD}, ["photos", "--plot", "none/plot.svg"], "none/plot.svg: there is no folder none"),
    ],
    ids=["no folder", "no photos", "no folders", "unknown name", "other plot", "plot in no folder"],
)
def test_wrong_command_is_one_line(
    run: Run, tmp_path: Path, files: dict[str, bytes], arguments: list[str], error: str
) -> None:
    put(tmp_path, files)
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert error in done.stderr
    assert done.stderr.count("\n") == 1


def test_version_without_a_list_of_species_is_named(run: Run, frontend: FakeFrontend, tmp_path: Path) -> None:
    async def none(_: web.Request) -> web.StreamResponse:
        return web.json_response({"model_version": "1", "species": [], "errors": []})

    frontend.handlers["/species"] = none
    put(tmp_path / "photos", {"Blue/a.png": BIRD})
    done = run("photos")
    assert (done.returncode, done.stdout) == (2, "")
    assert "version 1 has no list of species" in done.stderr


def test_one_species_and_failures_alone(run: Run, tmp_path: Path) -> None:
    put(tmp_path / "one", {"Blue/c.png": DOUBTFUL})
    put(tmp_path / "broken", {"Blue/c.png": DAMAGED})
    done = run("one")
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 photo in 1 folder\n" in done.stdout
    done = run("broken")
    assert (done.returncode, done.stdout) == (3, "")


def test_lost_service_is_one_line(run: Run, tmp_path: Path) -> None:
    put(tmp_path / "photos", {"Blue/c.png": BIRD})
    done = run("photos", "--url", f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1


def test_ctrl_c_during_a_pause_is_one_line(tmp_path: Path) -> None:
    async def busy(_: web.Request) -> web.StreamResponse:
        return web.json_response({"errors": ["slow down"]}, status=429, headers={"Retry-After": "60"})

    put(tmp_path / "photos", {"Blue/c.png": BIRD})
    with FakeFrontend() as frontend:
        frontend.add("/files", busy)
        command = [sys.executable, "-m", "tools.cli", "evaluate", "photos", "--url", frontend.url("/")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
        lines, code = run_on_terminal(
            command, environment, tmp_path, 120, interrupt_when=lambda lines: "slow down" in "".join(lines)
        )
    assert (code, lines[-1]) == (130, "birds: interrupted")
