"""`birds classify --triton`: this process downloads and reads the images, and asks Triton itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_triton import FakeTriton, running_in_a_thread
from tests.support.images import GREEN, RED, flat
from tools.cli.main import main
from tools.serve.ports import free_port


@pytest.fixture
def triton() -> Iterator[str]:
    with running_in_a_thread(FakeTriton()) as url:
        yield url


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "red.png").write_bytes(flat(RED))
    (folder / "green.png").write_bytes(flat(GREEN))
    return folder


def test_background_reads_as_no_bird(
    triton: str, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(variable, raising=False)
    assert main(["classify", str(photos), "--triton", triton, "--k", "2"]) == 0
    shown = capsys.readouterr().out
    assert "Great Red (Rubra maxima)" in shown
    assert "No bird found" in shown
    assert "background" not in shown


def test_species_of_a_file_are_answered_alone(
    triton: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "garden.txt").write_text("Viridis minor\n")
    options = ["--species", str(tmp_path / "garden.txt"), "--format", "jsonl"]
    assert main(["classify", str(photos), "--triton", triton, *options]) == 0
    items = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {prediction["bird_name"] for item in items for prediction in item["predictions"]} == {"Viridis minor"}


def test_triton_has_no_lists_of_species(triton: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", str(photos), "--triton", triton, "--species", "europe"]) == 2
    assert (
        capsys.readouterr().err == "birds: europe: there is no such file, and Triton itself has no lists of species\n"
    )


@pytest.mark.parametrize(
    ("address", "code", "error"),
    [
        ("bogus", 2, "birds: --triton: 'bogus' must have one of the forms host:port"),
        (f"127.0.0.1:{free_port()}", 4, "birds: The service at 127.0.0.1:"),
    ],
    ids=["no port", "nobody listens"],  # the port differs between the processes that run the tests
)
def test_wrong_address_of_triton_is_named(
    photos: Path, address: str, code: int, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["classify", str(photos), "--triton", address]) == code
    assert capsys.readouterr().err.startswith(error)
