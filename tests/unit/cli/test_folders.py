"""`birds classify` on folders and lists as people have them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.fake_frontend import FakeFrontend
from tests.support.image_server import ImageServer
from tests.support.images import GREEN, RED, flat
from tools.cli.main import main

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def classify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run `birds classify` in `tmp_path`, within this process because a new one takes a second to import it."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = main(["classify", *arguments])
        output = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, code, output.out, output.err)

    monkeypatch.chdir(tmp_path)
    for name, value in {"LC_ALL": "C.UTF-8", "LANGUAGE": ""}.items():
        monkeypatch.setenv(name, value)
    with FakeFrontend() as frontend:
        monkeypatch.setenv("BIRDS_URL", frontend.url("/"))
        yield run


@pytest.fixture
def red(tmp_path: Path) -> Path:
    path = tmp_path / "red bird.png"
    path.write_bytes(flat(RED))
    return path


def failures(output: str) -> dict[str, str]:
    items = map(json.loads, output.splitlines())
    return {item["image"]: item["failure"]["message"] for item in items if "failure" in item}


def classified(output: str) -> list[str]:
    return [item["image"] for item in map(json.loads, output.splitlines()) if "predictions" in item]


@pytest.mark.parametrize(
    ("encoding", "end", "line"),
    [
        ("utf-8", "\n", "red bird.png"),
        ("utf-8-sig", "\r\n", "red bird.png"),
        ("utf-16", "\r\n", '"red bird.png"'),
        ("utf-8", "\r\n", "'red bird.png'"),
        ("utf-8-sig", "\n", '  "red bird.png"  '),
    ],
)
def test_list_is_read_as_editors_write_it(
    classify: Run, red: Path, tmp_path: Path, encoding: str, end: str, line: str
) -> None:
    (tmp_path / "list.txt").write_bytes(f"# my list{end}{end}{line}{end}".encode(encoding))
    done = classify("--from", "list.txt", "--format", "jsonl")
    assert classified(done.stdout) == ["red bird.png"]
    assert done.returncode == 0


def test_odd_entries_are_failures_and_not_the_end(classify: Run, red: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    red.rename(folder / "red.png")
    (folder / "green.TIFF").write_bytes(flat(GREEN, "TIFF"))
    (folder / "dead.jpg").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "deep" / "again").symlink_to(folder)  # a circle
    (folder / "._red.png").write_bytes(b"attributes")
    (folder / "raw.cr2").write_bytes(b"raw")
    done = classify("folder", "--format", "jsonl")
    assert set(classified(done.stdout)) == {"folder/green.TIFF", "folder/red.png"}
    assert failures(done.stdout) == {
        "folder/dead.jpg": "No such file or directory",
        "folder/pipe.jpg": "Not a regular file",
    }
    assert done.stderr == "birds: 2 files skipped (._*, .cr2)\n"
    assert done.returncode == 1


def test_linked_folder_is_followed_once(classify: Run, red: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    red.rename(tmp_path / "photos" / "red.png")
    (tmp_path / "album").mkdir()
    for name in ("one", "two"):
        (tmp_path / "album" / name).symlink_to(tmp_path / "photos")
    assert classified(classify("album", "--format", "jsonl").stdout) == ["album/one/red.png"]


@pytest.mark.parametrize("out", ["-", "/dev/stdout"])
def test_out_may_be_standard_output(classify: Run, red: Path, tmp_path: Path, out: str) -> None:
    done = classify("red bird.png", "--out", out)
    assert classified(done.stdout) == ["red bird.png"]
    assert not (tmp_path / "-").exists()


def test_format_jsonl_goes_with_out(classify: Run, red: Path, tmp_path: Path) -> None:
    assert classify("red bird.png", "--format", "jsonl", "--out", "results.jsonl").returncode == 0
    assert classified((tmp_path / "results.jsonl").read_text()) == ["red bird.png"]
    assert classify("red bird.png", "--format", "csv", "--out", "results.jsonl").returncode == 2


def test_folder_without_images_is_named(classify: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes.txt").touch()
    done = classify("empty", "texts")
    assert done.returncode == 2
    assert done.stderr == "birds: There are no images in empty, texts (1 file skipped (.txt))\n"


def test_zero_species_is_said_truly(classify: Run, red: Path) -> None:
    done = classify("red bird.png", "--k", "0")
    assert done.stdout == "red bird.png     -  no species to show\n"


def test_score_and_species_are_passed_on(classify: Run, red: Path, image_server: ImageServer, tmp_path: Path) -> None:
    bodies: list[dict[str, object]] = []

    async def answer(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        return web.Response(text='{"url": "http://x/a.jpg", "predictions": []}\n')

    url = image_server.add("/", answer)
    (tmp_path / "garden.txt").write_text("# in my garden\nTurdus merula\nParus major\n")
    for species in ("garden.txt", "europe"):
        assert classify("http://x/a.jpg", "--url", url, "--min-score", "0.3", "--species", species).returncode == 0
    assert [body["species"] for body in bodies] == [["Turdus merula", "Parus major"], "europe"]
    assert {body["min_score"] for body in bodies} == {0.3}


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("none.txt", "this file names no species"),
        ("missing.txt", "No such file or directory"),
        ("lists/europe", "No such file or directory"),
    ],
)
def test_unusable_species_file_is_named(classify: Run, red: Path, tmp_path: Path, named: str, reason: str) -> None:
    (tmp_path / "none.txt").write_text("# to be done\n\n")
    done = classify("red bird.png", "--species", named)
    assert (done.returncode, done.stderr) == (2, f"birds: {named}: {reason}\n")


def test_missing_key_names_the_option(classify: Run, red: Path, image_server: ImageServer) -> None:
    async def guarded(_: web.Request) -> web.Response:
        return web.json_response({"errors": ["A valid API key is required"]}, status=401)

    done = classify("http://x/a.jpg", "--url", image_server.add("/", guarded))
    assert done.returncode == 2
    assert done.stderr == "birds: A valid API key is required. Give the key with --api-key or BIRDS_API_KEY\n"
