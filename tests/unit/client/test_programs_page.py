"""The Python programs in docs/programs.md, run as their readers run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_frontend import DAMAGED, DOUBTFUL, NO_BIRD, FakeFrontend
from tests.support.images import RED, flat
from tools import ROOT

_BOTH = "Rubra maxima 0.97, Viridis minor 0.02"
_SERVICE = "http://127.0.0.1:8000"
PROGRAMS = re.findall(
    r"^### (.+?)\n.*?^```python\n(.*?)^```$",
    (ROOT / "docs" / "programs.md").read_text(encoding="utf-8"),
    re.MULTILINE | re.DOTALL,
)
# Four pictures: a bird twice, then an empty branch, then a bird that the model is not sure of.
_CAMERA = """
import pathlib


class VideoCapture:
    def __init__(self, number):
        self.pictures = ["bird.png", "bird.png", "empty.png", "doubtful.png"]

    def read(self):
        return (True, self.pictures.pop(0)) if self.pictures else (False, None)


class Encoded:
    def __init__(self, name):
        self.name = name

    def tobytes(self):
        return (pathlib.Path("photos") / self.name).read_bytes()


def imencode(suffix, name):
    return True, Encoded(name)
"""


def run(heading: str, folder: Path) -> str:
    photos = {"bird.png": flat(RED), "doubtful.png": DOUBTFUL, "empty.png": NO_BIRD, "broken.jpg": DAMAGED}
    (folder / "photos").mkdir()
    for name, content in photos.items():
        (folder / "photos" / name).write_bytes(content)
    (folder / "urls.txt").write_text("http://x/a.jpg\nhttp://x/b.jpg\n")
    (folder / "cv2.py").write_text(_CAMERA)
    with FakeFrontend() as frontend:
        (folder / "program.py").write_text(dict(PROGRAMS)[heading].replace(_SERVICE, frontend.url("").rstrip("/")))
        path = os.pathsep.join([str(ROOT / "client"), str(folder)])
        done = subprocess.run(
            [sys.executable, "program.py"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_folder_becomes_a_spreadsheet(tmp_path: Path) -> None:
    run("A folder of photos to a spreadsheet", tmp_path)
    first, *rows = (tmp_path / "birds.csv").read_text(encoding="utf-8-sig").splitlines()
    assert first == "photo,species,score,note"
    assert sorted(rows) == [
        "photos/bird.png,Rubra maxima,0.97,",
        'photos/broken.jpg,,,"The file is not an image, or it is damaged"',
        "photos/doubtful.png,Caerulea,0.39,not sure",
        "photos/empty.png,,,no bird found",
    ]


@pytest.mark.parametrize(
    ("heading", "shown"),
    [
        ("A list of URLs", f"http://x/a.jpg {_BOTH}\nhttp://x/b.jpg {_BOTH}\n"),
        ("A camera", "Rubra maxima\nnothing\n"),
    ],
)
def test_program_prints_what_was_found(heading: str, shown: str, tmp_path: Path) -> None:
    assert run(heading, tmp_path) == shown


def test_asynchronous_program_answers_each_photo(tmp_path: Path) -> None:
    assert len(run("Asynchronous code", tmp_path).splitlines()) == 4
