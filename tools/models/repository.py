"""The model repository as files: the classifier's versions, and what the configurations say."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from version_manifest import VersionDamaged, count_labels, read_manifest

from tools import ROOT
from tools.triton.arguments import LIVE

MODEL_REPOSITORY = ROOT / "model_repository"
ENSEMBLE, CLASSIFIER, PREPROCESS = "birds", "classifier", "preprocess"
# Triton reads the name of a version folder as a signed 64-bit number. It aborts (std::out_of_range, signal 6) if there
# is a folder with a larger number, even one that the version policy leaves out; seen on 2.51.
LARGEST_VERSION = 2**63 - 1
_LEADING_NUMBER = re.compile(r"[+-]?[0-9]+")
_LONGEST_NUMBER = 30  # digits that are converted: enough to see that a number is too large
_ABOUT = Path("assets.extra", "birds.json")  # inside the SavedModel, so that a copy of the SavedModel includes it


@dataclass(frozen=True)
class About:
    """What the build recorded about a SavedModel.

    `height` and `width` are those of its images, in pixels. `engine` is the one that the build chose for a CPU.
    `published` is a time in ISO 8601, UTC. `random` is true if it answers the same image differently each time.
    """

    source: str
    height: int
    width: int
    engine: str
    published: str
    random: bool = False


@dataclass(frozen=True)
class Version:
    """One version of the classifier.

    `about` is None for a SavedModel that was not built here. `fingerprint` identifies the version's files (the SHA-256
    of its manifest); it is None for a version without a manifest, or with one that cannot be read.
    """

    number: int
    labels: int
    about: About | None
    fingerprint: str | None = None


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
    """The content of every configuration file that Triton may read."""
    paths = [*repository.glob("*/config.pbtxt"), *repository.glob(f"*/configs/{LIVE}.pbtxt")]
    return {path: path.read_bytes() for path in paths}


def image_size(repository: Path = MODEL_REPOSITORY) -> tuple[int, int]:
    """(height, width) in pixels of `preprocess`'s output PIXELS."""
    parameters = read_config(PREPROCESS, repository).parameters
    return int(parameters["height"].string_value), int(parameters["width"].string_value)


def version_path(repository: Path = MODEL_REPOSITORY, version: int = 1) -> Path:
    return repository / CLASSIFIER / str(version)


def savedmodel_path(repository: Path = MODEL_REPOSITORY, version: int = 1) -> Path:
    """The folder in which Triton expects the SavedModel of a version."""
    return version_path(repository, version) / "model.savedmodel"


def labels_path(repository: Path = MODEL_REPOSITORY, version: int = 1) -> Path:
    """The labels of a version, one per line. The backend names this file to Triton when it loads the version."""
    return version_path(repository, version) / "labels.txt"


def version_numbers(repository: Path = MODEL_REPOSITORY) -> list[int]:
    """The numbers of the classifier's version folders, ascending. Folders that Triton would not serve are left out."""
    folders = (repository / CLASSIFIER).glob("[1-9]*")
    numbers = (parse_version(path.name) for path in folders if path.is_dir())
    return sorted(number for number in numbers if number is not None)


def folders_with_numbers(repository: Path = MODEL_REPOSITORY) -> dict[str, int]:
    """All folders of the classifier that Triton takes for versions, with the number that it reads from their name.

    Triton 2.51 reads a number from the beginning of the name: it takes `2.bak` for version 2.
    """
    names = (path.name for path in (repository / CLASSIFIER).glob("*") if path.is_dir())
    matches = ((name, _LEADING_NUMBER.match(name)) for name in names)
    return {name: int(match[0][:_LONGEST_NUMBER]) for name, match in matches if match}


def parse_version(text: str) -> int | None:
    """The version that `text` names, or None: versions are whole numbers from 1 to LARGEST_VERSION."""
    if not text.isascii() or not text.isdecimal() or text.startswith("0") or len(text) > len(str(LARGEST_VERSION)):
        return None
    number = int(text)
    return number if number <= LARGEST_VERSION else None


def read_versions(repository: Path = MODEL_REPOSITORY) -> dict[int, Version]:
    """The classifier's versions by number, the oldest first. Does not check their files: see integrity.py."""
    return {number: _read_version(repository, number) for number in version_numbers(repository)}


def read_default(repository: Path = MODEL_REPOSITORY) -> int | None:
    """The version that the ensemble uses: the one it is pinned to, else the newest. None if there are no versions."""
    versions = version_numbers(repository)
    if not (repository / ENSEMBLE / "config.pbtxt").exists():
        return max(versions, default=None)
    steps = read_live_config(ENSEMBLE, repository).ensemble_scheduling.step
    pinned = [step.model_version for step in steps if step.model_name == CLASSIFIER]
    return pinned[0] if pinned and pinned[0] in versions else max(versions, default=None)


def write_about(savedmodel: Path, about: About) -> None:
    path = savedmodel / _ABOUT
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(about)) + "\n", encoding="utf-8")


def read_about(savedmodel: Path) -> About | None:
    """None for a SavedModel that was not built here."""
    try:
        about = About(**json.loads((savedmodel / _ABOUT).read_text(encoding="utf-8")))
        return about if about.height > 0 and about.width > 0 else None
    except (OSError, ValueError, TypeError):
        return None


def _read_version(repository: Path, number: int) -> Version:
    folder = version_path(repository, number)
    try:
        labels = count_labels(folder)
    except (OSError, UnicodeDecodeError):
        labels = 0
    try:
        manifest = read_manifest(folder)
    except VersionDamaged:
        manifest = None
    about = read_about(savedmodel_path(repository, number))
    return Version(number, labels, about, manifest.fingerprint if manifest else None)


def _parse(path: Path) -> model_config_pb2.ModelConfig:
    config = model_config_pb2.ModelConfig()
    config.CopyFrom(_parse_text(path.read_text(encoding="utf-8")))
    return config


@lru_cache(maxsize=64)
def _parse_text(text: str) -> model_config_pb2.ModelConfig:
    """Parsing takes milliseconds, and one change of the models reads the same few files dozens of times."""
    return text_format.Parse(text, model_config_pb2.ModelConfig())
