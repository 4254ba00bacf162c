"""The model repository as files: where the classifier lives in it, and what its configurations say."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

ROOT = Path(__file__).resolve().parent.parent
MODEL_REPOSITORY = ROOT / "model_repository"


def read_config(model: str, repository: Path = MODEL_REPOSITORY) -> model_config_pb2.ModelConfig:
    """Parse `model`'s config.pbtxt."""
    text = (repository / model / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def image_size(repository: Path = MODEL_REPOSITORY) -> tuple[int, int]:
    """(height, width) in pixels that `preprocess` brings every image to."""
    parameters = read_config("preprocess", repository).parameters
    return int(parameters["height"].string_value), int(parameters["width"].string_value)


def savedmodel_path(repository: Path = MODEL_REPOSITORY, version: int = 1) -> Path:
    """Where Triton expects a version of the classifier."""
    return repository / "classifier" / str(version) / "model.savedmodel"


def labels_path(repository: Path = MODEL_REPOSITORY) -> Path:
    return repository / "classifier" / "labels.txt"
