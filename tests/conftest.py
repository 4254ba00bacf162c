"""Fixtures for everything: one Triton for the whole run, an image server, and the real weights where there are any."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
from PIL import Image

os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")  # before anything imports TensorFlow

from frontend.settings import Settings
from tests.support.frontend_server import running_frontend
from tests.support.image_server import ImageServer
from tests.support.model_repository import add_twin, copy_templates, install_classifier
from tests.support.network import LOOPBACK
from tests.support.tiny_model import LABELS, save_tiny_model
from tools import ROOT
from tools.measure.perf.binary import PerfAnalyzer, PerfAnalyzerMissing, find_perf_analyzer
from tools.models.repository import MODEL_REPOSITORY
from tools.serve.ports import free_triton_ports
from tools.serve.triton_process import TritonServer
from tools.triton.settings import TritonSettings

# A shell without job control has what it starts in the background ignore Ctrl-C, and so would the processes that tests
# start and then interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Hypothesis fails a test whose examples take long, which the load of the machine decides.
hypothesis.settings.register_profile(
    "tests", hypothesis.settings(), deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tests")

# What Triton's stubs find beside their model.py files.
sys.path += [str(MODEL_REPOSITORY / "preprocess" / "1"), str(ROOT / "backends" / "tensorflow")]


@pytest.fixture(scope="module", autouse=True)
def pillow_pixel_limit() -> Iterator[None]:
    """Restore Pillow's global limit of pixels: `bird_pixels` changes it, and the fake Triton decodes under it too."""
    limit = Image.MAX_IMAGE_PIXELS
    yield
    Image.MAX_IMAGE_PIXELS = limit


@pytest.fixture(scope="session")
def tf() -> Any:
    """TensorFlow, whose import takes seconds: a parallel run gives the tests that need it to one process."""
    return importlib.import_module("tensorflow")


@pytest.fixture(scope="session")
def tiny_savedmodel(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny") / "model.savedmodel"
    save_tiny_model(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_repository(tiny_savedmodel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real model repository with the tiny classifier. Tests must not change it."""
    return _new_repository(tmp_path_factory.mktemp("repository") / "models", tiny_savedmodel)


@pytest.fixture(scope="session")
def repository_with_twins(tiny_savedmodel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with two more models: the classifier on TensorFlow, which starts slowly, and a poor `preprocess`."""
    # Not a copy of tiny_repository, to which a Triton that has started on it adds configurations.
    repository = _new_repository(tmp_path_factory.mktemp("twins") / "models", tiny_savedmodel)
    engine = 'key: "engine"\n    value: {{ string_value: "{}" }}'
    changes = {engine.format("auto"): engine.format("tensorflow")}
    add_twin(repository, "classifier", "classifier_on_tensorflow", changes)
    limits = {'"20"': '"2"', '"20000000"': '"1000000000"', '"3"': '"0.2"'}
    add_twin(repository, "preprocess", "strict_decoder", limits)
    return repository


def _new_repository(folder: Path, savedmodel: Path) -> Path:
    copy_templates(folder)
    install_classifier(folder, savedmodel, LABELS)
    return folder


@pytest.fixture(scope="session")
def triton(repository_with_twins: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A real Triton over the tiny classifier and the twins."""
    log = tmp_path_factory.mktemp("triton") / "triton.log"
    settings = TritonSettings(triton_open_apis=("shared-memory",))  # for perf_analyzer
    with TritonServer(free_triton_ports(), log, repository_with_twins, settings=settings) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture
def image_server() -> Iterator[ImageServer]:
    with ImageServer() as server:
        yield server


@pytest.fixture(scope="session")
def frontend(triton: TritonServer) -> Iterator[httpx.Client]:
    """A client of the real frontend before the real Triton; it may download from the loopback."""
    settings = Settings(triton_url=triton.grpc_url, download_allow_networks=LOOPBACK)
    with running_frontend(settings) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def mirror() -> str:
    """The mirror with the AIY weights; tests that need it are skipped where there is none."""
    mirror = os.environ.get("BIRDS_MODEL_MIRROR")
    if not mirror:
        pytest.skip("the AIY weights are missing: BIRDS_MODEL_MIRROR=FOLDER_OR_URL make test")
    return mirror


@pytest.fixture(scope="session")
def photos() -> dict[str, bytes]:
    """Real photos by file name, from the folders in BIRDS_TEST_PHOTOS."""
    folders = os.environ.get("BIRDS_TEST_PHOTOS")
    if not folders:
        pytest.skip("real photos are missing: BIRDS_TEST_PHOTOS=FOLDER make test")
    paths = [path for folder in folders.split(os.pathsep) for path in Path(folder).iterdir()]
    return {path.name: path.read_bytes() for path in sorted(paths) if path.suffix in {".jpg", ".bmp"}}


@pytest.fixture(scope="session")
def perf_analyzer() -> PerfAnalyzer:
    """The load generator's program; tests that need it are skipped where it can be neither found nor fetched."""
    try:
        return find_perf_analyzer()
    except PerfAnalyzerMissing as error:
        if "pip cannot fetch" not in str(error):
            raise
        pytest.skip(f"{error}")
