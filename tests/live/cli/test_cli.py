"""`birds` as a user or a script runs it: a real process, its output and its exit code."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.support.image_server import ImageServer
from tests.support.images import BLUE, GREEN, RED, flat
from tools import ROOT
from tools.serve.ports import free_port
from tools.serve.triton_process import TritonServer

BIRDS = [sys.executable, "-m", "tools.cli"]
Completed = subprocess.CompletedProcess[str]


@pytest.fixture
def environment(frontend: httpx.Client) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("LANG", "LANGUAGE", "LC_ALL")}
    return {**inherited, "BIRDS_URL": str(frontend.base_url), "PYTHONPATH": str(ROOT), "LC_MESSAGES": "C"}


@pytest.fixture
def birds(environment: dict[str, str], tmp_path: Path) -> Any:
    def run(*arguments: str, stdin: bytes = b"", **variables: str) -> Completed:
        process = subprocess.run(
            [*BIRDS, *arguments],
            cwd=tmp_path,
            env=environment | variables,
            input=stdin,
            capture_output=True,
            timeout=60,
        )
        return Completed(arguments, process.returncode, process.stdout.decode(), process.stderr.decode())

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with three photos, one of them in a subfolder, and a file that is not a photo."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    (folder / "red.jpg").write_bytes(flat(RED, "JPEG"))
    (folder / "green.PNG").write_bytes(flat(GREEN))
    (folder / "more" / "blue.webp").write_bytes(flat(BLUE, "WEBP"))
    (folder / "notes.txt").write_text("no photo")
    return folder


def best(output: str) -> dict[str, str]:
    records = [json.loads(line) for line in output.splitlines()]
    return {item["image"]: item["predictions"][0]["bird_name"] for item in records if "predictions" in item}


def test_a_folder_a_file_a_url_and_standard_input(birds: Any, photos: Path, image_server: ImageServer) -> None:
    url = image_server.add("/red.png", flat(RED))
    done = birds("classify", "photos", "photos/red.jpg", url, "-", "--format", "jsonl", stdin=flat(GREEN))
    assert done.returncode == 0
    assert best(done.stdout) == {
        "photos/red.jpg": "Rubra maxima",
        "photos/green.PNG": "Viridis minor",
        "photos/more/blue.webp": "Caerulea",
        url: "Rubra maxima",
        "-": "Viridis minor",
    }
    assert done.stderr == "birds: 1 file skipped (.txt)\n"  # and nothing else in a pipe


def test_a_list_from_a_file_and_from_standard_input(birds: Any, photos: Path) -> None:
    (photos / "list.txt").write_text("# my photos\n\nphotos/red.jpg\n")
    done = birds(
        "classify", "--from", "photos/list.txt", "--from", "-", "--format", "jsonl", stdin=b"photos/green.PNG\n"
    )
    assert set(best(done.stdout)) == {"photos/red.jpg", "photos/green.PNG"}


def test_table_has_aligned_columns(birds: Any, photos: Path) -> None:
    done = birds("classify", "photos/red.jpg", "photos/notes.txt", "--k", "2")
    rows = sorted(done.stdout.splitlines())
    assert done.returncode == 1
    assert any(row.startswith("photos/red.jpg    0.9") and row.endswith("Great Red (Rubra maxima)") for row in rows)
    assert "photos/notes.txt     -  The file is not an image, or it is damaged (not_an_image)" in rows
    assert len(rows) == 3


def test_json_is_one_array(birds: Any, photos: Path) -> None:
    items = json.loads(birds("classify", "photos", "-f", "json", "-k", "1").stdout)
    assert len(items) == 3
    assert all(len(item["predictions"]) == 1 for item in items)


def test_csv_has_a_row_per_prediction(birds: Any, photos: Path) -> None:
    output = birds("classify", "photos/red.jpg", "photos/notes.txt", "-f", "csv", "-k", "2").stdout
    rows = sorted(csv.DictReader(io.StringIO(output)), key=lambda row: (row["image"], row["rank"]))
    assert [(row["image"], row["rank"], row["bird_name"], row["code"]) for row in rows][:2] == [
        ("photos/notes.txt", "", "", "not_an_image"),
        ("photos/red.jpg", "1", "Rubra maxima", ""),
    ]
    assert len(rows) == 3


def test_classifies_with_triton_directly(
    birds: Any, photos: Path, triton: TritonServer, image_server: ImageServer
) -> None:
    url = image_server.add("/red.png", flat(RED))
    done = birds(
        *("classify", "photos", "missing.jpg", url, "http://10.0.0.1/", "--triton", triton.grpc_url, "-f", "jsonl"),
        BIRDS_DOWNLOAD_ALLOW_NETWORKS="127.0.0.0/8",
    )
    assert done.returncode == 1
    assert best(done.stdout)[url] == best(done.stdout)["photos/red.jpg"] == "Rubra maxima"
    codes = {
        item["image"]: item["failure"]["code"]
        for item in map(json.loads, done.stdout.splitlines())
        if "failure" in item
    }
    assert codes == {"missing.jpg": "unreadable_file", "http://10.0.0.1/": "forbidden_url"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["photos"], 0), (["photos", "missing.jpg"], 1), (["missing.jpg", "photos/notes.txt"], 3)],
    ids=["all succeed", "some succeed", "none succeeds"],
)
def test_the_exit_code_says_how_it_went(birds: Any, photos: Path, arguments: list[str], code: int) -> None:
    assert birds("classify", *arguments).returncode == code
    assert birds("classify", *arguments, "--out", "results.jsonl").returncode == code
    assert birds("classify", *arguments, "--out", "results.jsonl").returncode == code  # all done before


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["classify"], "No images given"),
        (["classify", "empty"], "There are no images in empty"),
        (["classify", "--from", "nowhere.txt"], "nowhere.txt: No such file or directory"),
        (["classify", "--from", "binary"], "binary: this is not a text file"),
        (["classify", "a.jpg", "-k", "-1"], "Invalid value for '--k'"),
        (["classify", "photos", "-k", "11"], "Max allowed value of K is 10"),
        (["classify", "a.jpg", "-f", "xml"], "Invalid value for '--format'"),
        (["classify", "a.jpg", "-f", "csv", "--out", "x"], "--out writes JSON lines"),
        (["classify", "a.jpg", "--out", "no/such/folder"], "No such file or directory"),
        (["classify", "a.jpg", "--out", "binary"], "this is not a file of results"),
        (["classify", "a.jpg", "--out", "text"], "this is not a file of results"),
        (["classify", "photos", "--model-version", "99"], "There is no model version 99"),
        (["models", "retire", "x"], "Invalid value for 'N'"),
        (["clasify"], "No such command 'clasify'"),
        (["serve", "--triton-http-port", "x"], "Invalid value for '--triton-http-port'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_command_exits_with_2_and_a_reason(
    birds: Any, photos: Path, tmp_path: Path, arguments: list[str], error: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "text").write_text("a diary, not results")
    done = birds(*arguments)
    assert done.returncode == 2
    assert error in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("birds: ")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "text").read_text() == "a diary, not results"


def test_named_model_version_answers(birds: Any, photos: Path, triton: TritonServer) -> None:
    for target in ([], ["--triton", triton.grpc_url]):
        done = birds("classify", "photos", "--model-version", "1", "-f", "jsonl", *target)
        assert {json.loads(line)["model_version"] for line in done.stdout.splitlines()} == {"1"}
        done = birds("classify", "photos", "--model-version", "99", *target)
        assert (done.returncode, done.stderr) == (2, "birds: There is no model version 99\n")


@pytest.mark.parametrize(
    ("command", "option"),
    [
        *(("models", "rollback"), ("bench", "--variants"), ("serve", "--triton-http-port")),
        *(("perf", "--request-rates"), ("soak", "--minutes")),
    ],
)
def test_every_command_has_help(birds: Any, command: str, option: str) -> None:
    done = birds(command, "--help")
    assert done.returncode == 0
    assert option in done.stdout


@pytest.mark.parametrize("target", [("--url", "http://{}"), ("--triton", "{}")], ids=["frontend", "Triton"])
def test_unreachable_service_exits_with_4(birds: Any, photos: Path, target: tuple[str, str]) -> None:
    option, address = target
    done = birds("classify", "photos", option, address.format(f"127.0.0.1:{free_port()}"))
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1


def test_messages_are_in_the_users_language(birds: Any, photos: Path) -> None:
    done = birds("classify", "photos/notes.txt", LC_ALL="de_AT.UTF-8")
    assert "Die Datei ist kein Bild oder sie ist beschädigt (not_an_image)" in done.stdout
    assert "Bild" in birds("classify", LANG="de_DE.UTF-8", LC_MESSAGES="").stderr


def test_odd_file_names_do_not_break_output(birds: Any, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/photos"
    os.mkdir(odd)
    for name in (b"\xff\xfe.png", b"\x1b[31mred.png", "鳥.png".encode()):
        with open(odd + b"/" + name, "wb") as file:
            file.write(flat(RED))
    done = birds("classify", "photos", "--format", "jsonl")
    assert done.returncode == 0
    assert {"photos/\udcff\udcfe.png", "photos/\x1b[31mred.png", "photos/鳥.png"} == set(best(done.stdout))
    assert "\x1b" not in birds("classify", "photos").stdout
    assert birds("classify", "photos", "--out", "results.jsonl").returncode == 0
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 3


@pytest.fixture
def many(tmp_path: Path) -> list[str]:
    """Four hundred files; 20 of them are not photos."""
    folder = tmp_path / "many"
    folder.mkdir()
    for n in range(400):
        (folder / f"{n}.png").write_bytes(flat((n % 256, 9, 9)) if n % 20 else b"none")
    return [f"many/{n}.png" for n in range(400)]


def test_killed_run_resumes_without_loss_or_repeat(
    birds: Any, environment: dict[str, str], many: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "results.jsonl"
    command = [*BIRDS, "classify", "many", "--out", str(out)]
    for goal in (20, 150, 300):
        process = subprocess.Popen(command, cwd=tmp_path, env=environment)
        while process.poll() is None and (not out.exists() or out.read_bytes().count(b"\n") < goal):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() in (-signal.SIGKILL, 1)
        with out.open("ab") as file:
            file.write(b'{"image": "many/39')  # as if it had been killed in the middle of a line
    done = birds("classify", "many", "--out", str(out))
    assert done.returncode == 1
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert Counter(item["image"] for item in records) == Counter(many)
    assert sum("failure" in item for item in records) == 20


def test_two_runs_cannot_write_the_same_file(
    birds: Any, environment: dict[str, str], image_server: ImageServer, tmp_path: Path
) -> None:
    async def never(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(300)
        return web.Response()

    service = image_server.add("/", never)
    command = ["classify", "http://example.org/a.jpg", "--out", "results.jsonl", "--url", service]
    first = subprocess.Popen([*BIRDS, *command], cwd=tmp_path, env=environment)
    try:
        while not image_server.requests.total():
            assert first.poll() is None
            time.sleep(0.01)
        second = birds(*command)
        assert (second.returncode, second.stderr) == (2, "birds: results.jsonl: another run is writing to it\n")
        first.send_signal(signal.SIGINT)
        assert first.wait(60) == 130
    finally:
        first.kill()
        first.wait()


def test_closed_pipe_is_not_an_error(environment: dict[str, str], many: list[str], tmp_path: Path) -> None:
    command = f"{sys.executable} -m tools.cli classify many | head -n 1"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, timeout=60)
    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b""


def test_completes_in_the_shell(environment: dict[str, str], tmp_path: Path) -> None:
    variables = {"_BIRDS_COMPLETE": "complete_bash", "COMP_WORDS": "birds cla", "COMP_CWORD": "1"}
    done = subprocess.run(BIRDS, cwd=tmp_path, env=environment | variables, capture_output=True, timeout=60)
    assert done.stdout.decode().split() == ["classify"]


def test_installed_package_has_the_command(environment: dict[str, str], tmp_path: Path) -> None:
    """Without network, from a copy of the sources, with all its data files."""
    source, prefix = tmp_path / "source", tmp_path / "prefix"
    for package in ("frontend", "tools"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", source)
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*pip, "--disable-pip-version-check", "--ignore-installed", "--prefix", prefix, source], check=True)
    packages = prefix / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    variables = environment | {"PYTHONPATH": str(packages), "LC_ALL": "de_DE.UTF-8"}
    done = subprocess.run([prefix / "bin" / "birds", "classify"], env=variables, cwd=tmp_path, capture_output=True)
    assert done.returncode == 2
    assert "Bilder" in done.stderr.decode()
    assert (packages / "frontend" / "page" / "static" / "index.html").exists()
