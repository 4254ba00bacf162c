"""The model repository as files: the classifier's versions, and what the configurations say."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from tools import ROOT
from tools.triton.arguments import LIVE

MODEL_REPOSITORY = ROOT / "model_repository"
ENSEMBLE, CLASSIFIER, PREPROCESS = "birds", "classifier", "preprocess"
_VERSION_FOLDER = re.compile(r"[1-9][0-9]*")
_ABOUT = Path("assets.extra", "birds.json")  # inside the SavedModel, so that a copy of it takes them along


@dataclass(frozen=True)
class About:
    """What a SavedModel that was built here tells of itself.

    `engine` is the best one that was seen to run it on a CPU; `published` is a time in ISO 8601, UTC.
    """

    source: str
    height: int
    width: int
    engine: str
    published: str


@dataclass(frozen=True)
class Version:
    """One version of the classifier. What nobody recorded, of a folder that was put there by hand, is None."""

    number: int
    labels: int
    about: About | None


def read_config(model: str, repository: Path = MODEL_REPOSITORY) -> model_config_pb2.ModelConfig:
    """Parse `model`'s config.pbtxt."""
    return _parse(repository / model / "config.pbtxt")


def live_config_path(model: str, repository: Path = MODEL_REPOSITORY) -> Path:
    return repository / model / "configs" / f"{LIVE}.pbtxt"


def read_live_config(model: str, repository: Path = MODEL_REPOSITORY) -> model_config_pb2.ModelConfig:
    """Parse the configuration that Triton loads `model` with."""
    live = live_config_path(model, repository)
    return _parse(live) if live.exists() else read_config(model, repository)


def configurations(repository: Path) -> dict[Path, bytes]:
    """Every configuration that Triton may read, as it is now."""
    paths = [*repository.glob("*/config.pbtxt"), *repository.glob(f"*/configs/{LIVE}.pbtxt")]
    return {path: path.read_bytes() for path in paths}


def image_size(repository: Path = MODEL_REPOSITORY) -> tuple[int, int]:
    """(height, width) in pixels of `preprocess`'s output PIXELS."""
    parameters = read_config(PREPROCESS, repository).parameters
    return int(parameters["height"].string_value), int(parameters["width"].string_value)


def version_path(repository: Path = MODEL_REPOSITORY, version: int = 1) -> Path:
    return repository / CLASSIFIER / str(version)


def savedmodel_path(repository: Path = MODEL_REPOSITORY, version: int = 1) -> Path:
    """Where Triton expects a version of the classifier."""
    return version_path(repository, version) / "model.savedmodel"


def labels_path(repository: Path = MODEL_REPOSITORY, version: int = 1) -> Path:
    """The labels of a version, one a line; the backend tells Triton of this file when it loads the version."""
    return version_path(repository, version) / "labels.txt"


def read_versions(repository: Path = MODEL_REPOSITORY) -> dict[int, Version]:
    """The classifier's versions by number, the oldest first."""
    folders = (repository / CLASSIFIER).glob("[0-9]*")
    numbers = sorted(int(path.name) for path in folders if _VERSION_FOLDER.fullmatch(path.name))
    return {number: _read_version(repository, number) for number in numbers}


def read_default(repository: Path = MODEL_REPOSITORY) -> int | None:
    """The version that the ensemble asks: the one it is pinned to, else the newest. None if there is no version."""
    versions = read_versions(repository)
    pinned = [
        step.model_version
        for step in read_live_config(ENSEMBLE, repository).ensemble_scheduling.step
        if step.model_name == CLASSIFIER
    ]
    return pinned[0] if pinned and pinned[0] in versions else max(versions, default=None)


def write_about(savedmodel: Path, about: About) -> None:
    path = savedmodel / _ABOUT
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(about)) + "\n", encoding="utf-8")


def read_about(savedmodel: Path) -> About | None:
    """None for a SavedModel that was not built here."""
    try:
        return About(**json.loads((savedmodel / _ABOUT).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _read_version(repository: Path, number: int) -> Version:
    try:
        labels = len(labels_path(repository, number).read_text(encoding="utf-8").splitlines())
    except OSError:
        labels = 0
    return Version(number, labels, read_about(savedmodel_path(repository, number)))


def _parse(path: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
