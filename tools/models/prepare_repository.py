"""Prepares a folder as the model repository of a Triton that runs elsewhere, such as a container that mounts it.

The files come from the repository in git; the live configurations are derived from the BIRDS_* settings. Preparing a
folder again brings it up to date and keeps its versions.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from version_manifest import VersionDamaged

from tools.models.build_model import build
from tools.models.durable import discard, move_folder
from tools.models.integrity import check_version
from tools.models.options import BuildOptions, Source
from tools.models.publishing import PublishingError, prepare, set_default
from tools.models.repository import (
    CLASSIFIER,
    LARGEST_VERSION,
    MODEL_REPOSITORY,
    parse_version,
    read_default,
    read_versions,
    version_path,
)
from tools.triton.settings import TritonSettings


def prepare_repository(
    repository: Path, source: Source | None = None, versions: Path | None = None, default: int | None = None
) -> None:
    """Fill the folder `repository`: with the versions in the folder `versions`, or else with one built from `source`.

    Raises PublishingError, BuildError, FetchError, OSError, or pydantic's ValidationError for a setting.
    """
    settings = TritonSettings()
    copy_templates(repository)
    if versions:
        copy_versions(versions, repository)
    elif not read_versions(repository):
        build(BuildOptions(source), repository)
    if default and default != read_default(repository):
        set_default(repository, default)
    prepare(repository, settings)
    numbers = ", ".join(map(str, read_versions(repository)))
    print(f"{repository} is ready: versions {numbers} of the classifier, default {read_default(repository)}")


def copy_templates(repository: Path) -> None:
    """Copy the part of the model repository that is in git: no versions of the classifier, nothing derived."""
    for config in MODEL_REPOSITORY.glob("*/config.pbtxt"):
        model = config.parent
        if model.name.startswith("birds_v"):
            continue
        ignored = ["configs", "__pycache__", *(["[0-9]*"] if model.name == CLASSIFIER else [])]
        shutil.copytree(model, repository / model.name, ignore=shutil.ignore_patterns(*ignored), dirs_exist_ok=True)


def copy_versions(source: Path, repository: Path) -> None:
    """Copy the version folders that `repository` does not have yet.

    Raises PublishingError if `source` has no version, or one that is damaged.
    """
    folders = [path for path in source.iterdir() if (path / "model.savedmodel").is_dir()]
    if not folders:
        raise PublishingError(f"{source} has no version: a folder such as 1/ with model.savedmodel/ and labels.txt")
    for folder in folders:
        if (number := parse_version(folder.name)) is None:
            raise PublishingError(
                f"{folder} is not a version: its name must be a whole number from 1 to {LARGEST_VERSION}"
            )
        target = version_path(repository, number)
        if not target.exists():
            draft = target.with_name(f".{target.name}.new")
            discard(draft)
            shutil.copytree(folder, draft)
            try:
                check_version(draft)
            except VersionDamaged as error:
                discard(draft)
                raise PublishingError(f"{folder} is damaged: {error}") from error
            move_folder(draft, target)
