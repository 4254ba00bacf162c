"""`birds classify` on a real terminal: the screen is read as a person would read it."""

from __future__ import annotations

import csv
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.fake_frontend import DAMAGED, DOUBTFUL, NO_BIRD, FakeFrontend
from tests.support.image_server import ImageServer
from tests.support.images import RED, flat
from tests.support.terminal import run_on_terminal
from tools import ROOT

CLASSIFY = [sys.executable, "-m", "tools.cli", "classify"]


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    ignored = ("LANG", "LANGUAGE", "LC_ALL", "COLUMNS", "LINES", "NO_COLOR")
    inherited = {name: value for name, value in os.environ.items() if name not in ignored}
    with FakeFrontend() as frontend:
        yield {**inherited, "BIRDS_URL": frontend.url("/"), "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}


def put_photos(folder: Path, count: int) -> list[str]:
    """Photos in the folder `many`, a twentieth of them damaged."""
    (folder / "many").mkdir()
    for n in range(count):
        (folder / "many" / f"{n}.png").write_bytes(flat((n % 256, 9, 9)) if n % 20 else DAMAGED)
    return [f"many/{n}.png" for n in range(count)]


@pytest.fixture
def many(tmp_path: Path) -> list[str]:
    return put_photos(tmp_path, 40)


@pytest.mark.parametrize("columns", [80, 200])
def test_summary_counts_each_image_once(environment: dict[str, str], tmp_path: Path, columns: int) -> None:
    contents = {"a.png": flat(RED), "b.png": DOUBTFUL, "c.png": NO_BIRD, "d.png": DAMAGED, "e.png": flat(RED)}
    for name, content in {**contents, "notes.txt": b"", "raw.cr2": b""}.items():
        (tmp_path / name).write_bytes(content)
    lines, code = run_on_terminal([*CLASSIFY, ".", "--k", "1"], environment, tmp_path, columns)
    assert code == 1
    assert "b.png  0.39  Not sure: Blue (Caerulea)" in lines
    assert "c.png  0.20  No bird found" in lines
    assert re.fullmatch(
        r"2 birds of 1 species, 1 not sure, 1 with no bird, 1 failed, "
        r"2 files skipped \(\.\w+, \.\w+\), [\d.]+ images/s",
        " ".join(lines[5:]),
    )


@pytest.mark.parametrize("columns", [40, 80])
def test_reason_of_a_failure_is_whole(environment: dict[str, str], tmp_path: Path, columns: int) -> None:
    (tmp_path / "damaged.png").write_bytes(DAMAGED)
    lines, _ = run_on_terminal([*CLASSIFY, "damaged.png"], environment, tmp_path, columns)
    reason = " ".join(line.removeprefix("damaged.png     -").strip() for line in lines[:-1])
    assert reason == "The file is not an image, or it is damaged (not_an_image)"
    assert all(len(line) <= columns for line in lines)


@pytest.mark.parametrize(
    ("output_format", "columns"), [("table", 80), ("table", 200), ("csv", 80), ("jsonl", 80), ("jsonl", 200)]
)
def test_every_result_is_on_the_screen_once(
    environment: dict[str, str], many: list[str], tmp_path: Path, columns: int, output_format: str
) -> None:
    command = [*CLASSIFY, "many", "--k", "1", "--format", output_format]
    lines, code = run_on_terminal(command, environment, tmp_path, columns)
    text = "\n".join(lines)
    assert code == 1
    for name in many:
        assert len(re.findall(rf"(?<!\d){re.escape(name)}", text)) == 1, name
    assert re.fullmatch(r"38 birds of 1 species, 2 failed, [\d.]+ images/s", lines[-1])
    assert not any("Classifying" in line for line in lines)  # the bar is gone


def test_redirected_results_stay_off_the_screen(environment: dict[str, str], many: list[str], tmp_path: Path) -> None:
    command = f"{shlex.join(CLASSIFY)} many --k 1 --format csv > results.csv"
    lines, _ = run_on_terminal(["/bin/sh", "-c", command], environment, tmp_path)
    images = [row["image"] for row in csv.DictReader((tmp_path / "results.csv").read_text().splitlines())]
    assert sorted(images) == sorted(many)
    assert len(lines) == 1
    assert lines[0].startswith("38 birds of 1 species, 2 failed, ")


def test_pipe_on_a_terminal_gets_results_alone(environment: dict[str, str], many: list[str], tmp_path: Path) -> None:
    (tmp_path / "many" / "notes.txt").touch()
    command = f"{shlex.join(CLASSIFY)} many --k 1 | cat"
    lines, _ = run_on_terminal(["/bin/sh", "-c", command], environment, tmp_path)
    lines.remove("birds: 1 file skipped (.txt)")  # cat may print its last results later
    assert sorted(line.split()[0] for line in lines) == sorted(many)


def test_json_on_the_screen_is_whole(environment: dict[str, str], many: list[str], tmp_path: Path) -> None:
    lines, _ = run_on_terminal([*CLASSIFY, *many[:30], "--format", "json"], environment, tmp_path, 2000)
    assert (lines[0], lines[-2]) == ("[", "]")
    assert len(lines) == 30 + 3


def test_names_fit_the_width(environment: dict[str, str], tmp_path: Path) -> None:
    names = [f"{'深い' * 40}.png", f"{'a' * 120}-first.png", f"{'a' * 120}-second.png"]
    for name in names:
        (tmp_path / name).write_bytes(flat(RED))
    lines, code = run_on_terminal([*CLASSIFY, *names, "--k", "1"], environment, tmp_path, 80)
    rows = [line for line in lines if "Rubra maxima" in line]
    assert code == 0
    assert len(rows) == 3
    assert any("-first.png" in row for row in rows)
    assert any("-second.png" in row for row in rows)


def test_pause_is_said_in_the_bar(environment: dict[str, str], image_server: ImageServer, tmp_path: Path) -> None:
    async def busy(_: web.Request) -> web.StreamResponse:
        return web.json_response({"errors": ["slow down"]}, status=429, headers={"Retry-After": "2"})

    command = [*CLASSIFY, "http://x/a.jpg", "--url", image_server.add("/", busy)]
    seen: list[str] = []

    def waits(lines: list[str]) -> bool:
        seen.extend(lines)
        return any("Waiting 2 s: slow down" in line for line in lines)

    lines, code = run_on_terminal(command, environment, tmp_path, 120, interrupt_when=waits)
    assert any("Waiting 2 s: slow down" in line for line in seen)
    assert code == 130
    assert lines[-1].startswith("birds: Interrupted.")


def test_ctrl_c_ends_in_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    put_photos(tmp_path, 100)  # enough that many are left at Ctrl-C
    lines, code = run_on_terminal(
        [*CLASSIFY, "many"], environment, tmp_path, 120, interrupt_when=lambda lines: len(lines) > 20
    )
    assert code == 130
    assert lines[-1].endswith("where this one stopped")
    assert not any("Traceback" in line for line in lines)


def test_results_file_is_continued(environment: dict[str, str], many: list[str], tmp_path: Path) -> None:
    command = [*CLASSIFY, "many", "--out", "results.jsonl"]
    lines, code = run_on_terminal(command, environment, tmp_path)
    assert code == 1
    assert re.fullmatch(r"38 birds of 1 species, 2 failed, [\d.]+ images/s, results.jsonl", lines[-1])
    lines, _ = run_on_terminal(command, environment, tmp_path)
    assert lines[0] == "40 images are already in results.jsonl"
    assert lines[-1].startswith("38 classified earlier, 2 failed, ")


def test_quiet_shows_results_alone(environment: dict[str, str], many: list[str], tmp_path: Path) -> None:
    lines, _ = run_on_terminal([*CLASSIFY, *many[1:4], "--quiet", "--k", "1"], environment, tmp_path)
    assert len(lines) == 3


def test_works_without_colour(environment: dict[str, str], many: list[str], tmp_path: Path) -> None:
    lines, _ = run_on_terminal([*CLASSIFY, *many[1:4]], {**environment, "NO_COLOR": "1"}, tmp_path)
    assert any("3 birds of 1 species" in line for line in lines)


def test_terminal_without_unicode_gets_escapes(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "鳥.png").write_bytes(flat(RED))
    ascii_only = {**environment, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    lines, code = run_on_terminal([*CLASSIFY, "鳥.png", "--k", "1"], ascii_only, tmp_path)
    assert code == 0
    assert any("Rubra maxima" in line for line in lines)
    assert not any("Traceback" in line for line in lines)
