"""Fixtures for everything: one Triton for the whole run, an image server, and the real weights where there are any."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest

os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")  # before anything imports TensorFlow

from frontend.settings import Settings
from tests.frontend_server import running_frontend
from tests.image_server import ImageServer
from tests.ports import free_triton_ports
from tests.tiny_model import LABELS, save_tiny_model
from tools import ROOT
from tools.measure.perf.binary import PerfAnalyzer, PerfAnalyzerMissing, find_perf_analyzer
from tools.models.repository import MODEL_REPOSITORY, labels_path, savedmodel_path
from tools.serve.triton_process import TritonServer
from tools.triton.settings import TritonSettings

# A shell without job control has what it starts in the background ignore Ctrl-C, and so would the processes that tests
# start and then interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What Triton's stubs find beside their model.py files.
sys.path += [str(MODEL_REPOSITORY / "preprocess" / "1"), str(ROOT / "backends" / "tensorflow")]


@pytest.fixture(scope="session")
def tiny_savedmodel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny") / "model.savedmodel"
    save_tiny_model(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_repository(tiny_savedmodel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real model repository with the tiny classifier, that once more on TensorFlow, and a poor `preprocess`."""
    repository = tmp_path_factory.mktemp("repository") / "models"
    copy_templates(repository)
    install_classifier(repository, tiny_savedmodel, LABELS)
    engine = 'key: "engine"\n    value: {{ string_value: "{}" }}'
    changes = {engine.format("auto"): engine.format("tensorflow")}
    _add_twin(repository, "classifier", "classifier_on_tensorflow", changes)
    memory = {'"1000000000"': '"1000000000000"', '"1500000000"': '"64000000"', '"20000000"': '"1000000000"'}
    _add_twin(repository, "preprocess", "decoder_short_of_memory", memory)
    return repository


def _add_twin(repository: Path, model: str, twin: str, changes: dict[str, str]) -> None:
    shutil.copytree(repository / model, repository / twin)
    config = (repository / twin / "config.pbtxt").read_text()
    for old, new in {f'name: "{model}"': f'name: "{twin}"', **changes}.items():
        assert config.count(old) == 1, f"{old} is not what the configuration of {model} holds"
        config = config.replace(old, new)
    (repository / twin / "config.pbtxt").write_text(config)


def copy_templates(repository: Path) -> None:
    """What of the model repository is in git: no versions, nothing derived."""

    def not_in_git(folder: str, names: list[str]) -> list[str]:
        derived = ("configs", "__pycache__", ".lock", ".publishing")
        in_classifier = Path(folder).name == "classifier"
        return [
            name
            for name in names
            if name in derived or name.startswith("birds_v") or (in_classifier and name != "config.pbtxt")
        ]

    shutil.copytree(MODEL_REPOSITORY, repository, ignore=not_in_git)


def install_classifier(repository: Path, savedmodel: Path, labels: list[str]) -> None:
    shutil.copytree(savedmodel, savedmodel_path(repository), dirs_exist_ok=True)
    labels_path(repository).write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")


@pytest.fixture(scope="session")
def triton(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A real Triton over the tiny repository."""
    log = tmp_path_factory.mktemp("triton") / "triton.log"
    settings = TritonSettings(triton_open_apis=("shared-memory",))  # for perf_analyzer
    with TritonServer(free_triton_ports(), log, tiny_repository, settings=settings) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture
def image_server() -> Iterator[ImageServer]:
    with ImageServer() as server:
        yield server


LOOPBACK = (ip_network("127.0.0.0/8"),)


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
        pytest.skip("BIRDS_MODEL_MIRROR is not set: the AIY weights are not here")
    return mirror


@pytest.fixture(scope="session")
def photos() -> dict[str, bytes]:
    """Real photos by file name, from the folders in BIRDS_TEST_PHOTOS."""
    folders = os.environ.get("BIRDS_TEST_PHOTOS")
    if not folders:
        pytest.skip("BIRDS_TEST_PHOTOS is not set: there are no real photos here")
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
