"""Model repositories for tests, from the real templates and small classifiers."""

from __future__ import annotations

import shutil
from pathlib import Path

from tools.models.repository import MODEL_REPOSITORY, labels_path, savedmodel_path


def add_twin(repository: Path, model: str, twin: str, changes: dict[str, str]) -> None:
    shutil.copytree(repository / model, repository / twin)
    config = (repository / twin / "config.pbtxt").read_text()
    for old, new in {f'name: "{model}"': f'name: "{twin}"', **changes}.items():
        assert config.count(old) == 1, f"{old} is not what the configuration of {model} holds"
        config = config.replace(old, new)
    (repository / twin / "config.pbtxt").write_text(config)


def copy_templates(repository: Path) -> None:
    """Copy the part of the model repository that is in git: no versions, nothing derived."""

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
