"""The rebuilt AIY classifier against the LiteRT interpreter, on real photos; TensorFlow against OpenVINO."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from bird_pixels import PixelFormat, decode
from placement import Device
from savedmodel_engines import OpenVINOEngine, TensorFlowEngine

from tests.support.chromium import running_chromium
from tests.support.programs import path_of
from tools import ROOT
from tools.cli.main import main
from tools.models.repository import MODEL_REPOSITORY, labels_path, savedmodel_path
from tools.models.weights import aiy_files
from tools.models.weights.fetch import fetch

WANTED = PixelFormat(width=224, height=224, max_pixels=50_000_000, max_bytes=20_000_000)
STATIC = ROOT / "frontend" / "page" / "static"
DRAWING_AS_FILE = """async (name) => {
    const { drawingAsFile } = await import("/sources.js");
    const image = Object.assign(new Image(), { src: `/${name}.svg` });
    await image.decode();
    const bytes = new Uint8Array(await (await drawingAsFile(image)).arrayBuffer());
    return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}"""
# Ten steps of LiteRT's 8-bit scores: two labels that are closer are a tie to it.
TIE = 10 / 256


@pytest.fixture(scope="session")
def repository(mirror: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository built by the command, from the mirror."""
    repository = tmp_path_factory.mktemp("aiy")
    for model in ("classifier", "preprocess"):
        (repository / model).mkdir()
        (repository / model / "config.pbtxt").write_text((MODEL_REPOSITORY / model / "config.pbtxt").read_text())
    arguments = ["models", "build", "--source", "aiy-birds-v1", "--mirror", mirror, "--repository", str(repository)]
    assert main(arguments) == 0
    return repository


@pytest.fixture(scope="session")
def labels(repository: Path) -> list[str]:
    return labels_path(repository).read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="session")
def pixels(photos: dict[str, bytes]) -> dict[str, np.ndarray]:
    return {name: decode(data, WANTED) for name, data in photos.items()}


@pytest.fixture(scope="session")
def openvino_rows(repository: Path, pixels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    engine = OpenVINOEngine(savedmodel_path(repository), Device(threads=2))
    return {name: engine.run({"pixels": image[None]})["probabilities"][0] for name, image in pixels.items()}


@pytest.fixture(scope="session")
def litert_rows(mirror: str, pixels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    interpreter = Interpreter(str(fetch(aiy_files.MODEL, mirror)))
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(image: np.ndarray) -> Any:
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        return interpreter.get_tensor(sink["index"])[0] / 256

    return {name: run(image) for name, image in pixels.items()}


def test_every_label_is_there_and_right(labels: list[str]) -> None:
    assert len(labels) == 965
    assert labels[0] == "Haemorhous cassinii (Cassin's Finch)"
    assert labels[110] == "Anas superciliosa × platyrhynchos (Pacific Black Duck × Mallard hybrid)"
    assert labels[758] == "Larus glaucescens × occidentalis (Olympic Gull)"
    assert labels[963:] == ["Ardenna gravis (Great Shearwater)", "background"]
    assert not any("\\" in label for label in labels)


@pytest.mark.parametrize(
    ("photo", "name", "score"),
    [
        ("parrot.jpg", "Ara macao", 0.70),
        ("owl.jpg", "Athene cunicularia", 0.96),
        ("bird.bmp", "Poecile atricapillus", 0.72),
        ("cat_720p.jpg", "background", 0.75),
    ],
)
def test_names_the_sample_photos(
    openvino_rows: dict[str, np.ndarray], labels: list[str], photo: str, name: str, score: float
) -> None:
    row = openvino_rows[photo]
    assert labels[row.argmax()].startswith(name)
    assert row.max() == pytest.approx(score, abs=0.1)


def test_agrees_with_litert(openvino_rows: dict[str, np.ndarray], litert_rows: dict[str, np.ndarray]) -> None:
    """The same best label, or in at most one photo of ten one that LiteRT scores as high; scores within 0.1."""
    ties = []
    for name, reference in litert_rows.items():
        row, best = openvino_rows[name], reference.argmax()
        assert row[best] == pytest.approx(reference[best], abs=0.1), name
        if row.argmax() != best:
            ties.append(name)
            assert reference[best] - reference[row.argmax()] <= TIE, name
    assert len(ties) <= len(litert_rows) / 10, ties


def test_tensorflow_and_openvino_agree(
    repository: Path, pixels: dict[str, np.ndarray], openvino_rows: dict[str, np.ndarray]
) -> None:
    batch = np.stack(list(pixels.values()))
    rows = TensorFlowEngine(savedmodel_path(repository), Device(threads=2)).run({"pixels": batch})["probabilities"]
    for name, row in zip(pixels, rows, strict=True):
        assert np.abs(row - openvino_rows[name]).max() < 1e-3
        assert np.argsort(-row)[:5].tolist() == np.argsort(-openvino_rows[name])[:5].tolist(), name


async def test_names_the_drawings_of_the_page(repository: Path, labels: list[str]) -> None:
    """A new user tries the two drawings first. The page turns them into PNG files, as here."""
    engine = OpenVINOEngine(savedmodel_path(repository), Device(threads=2))
    named = {}
    for drawing, content in (await drawings_as_files()).items():
        row = engine.run({"pixels": decode(content, WANTED)[None]})["probabilities"][0]
        named[drawing] = labels[row.argmax()]
        assert row.max() > 0.6  # "Likely" on the page
    assert named == {
        "cardinal": "Cardinalis cardinalis (Northern Cardinal)",
        "flamingo": "Phoenicopterus ruber (American Flamingo)",
    }


async def drawings_as_files() -> dict[str, bytes]:
    """The page's drawings by name, as its own script makes files of them in a browser."""
    files = {}
    async with running_chromium(path_of("chromium")) as browser:
        page = await browser.new_page()
        await page.route("**/page", lambda route: route.fulfill(body="<html></html>", content_type="text/html"))
        await page.route("**/*.*", lambda route: route.fulfill(path=STATIC / Path(route.request.url).name))
        await page.goto("http://127.0.0.1/page")
        for drawing in ("cardinal", "flamingo"):
            files[drawing] = base64.b64decode(await page.evaluate(DRAWING_AS_FILE, drawing))
    return files
