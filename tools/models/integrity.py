"""Tells intact versions from damaged ones by their manifests, and gives a manifest to versions that have none."""

from __future__ import annotations

import logging
from pathlib import Path

from version_manifest import VersionDamaged, check_manifest, read_manifest, write_manifest

from tools.models.repository import (
    CLASSIFIER,
    LARGEST_VERSION,
    Version,
    folders_with_numbers,
    read_versions,
    version_numbers,
    version_path,
)

log = logging.getLogger(__name__)


def find_damage(repository: Path) -> dict[int, str]:
    """What is wrong with each damaged version, by number. Reads every file: about 2.5 s for each GB."""
    damage = {}
    for number in version_numbers(repository):
        try:
            check_version(version_path(repository, number))
        except VersionDamaged as error:
            damage[number] = str(error)
    return damage


def check_version(folder: Path) -> None:
    """Raises VersionDamaged unless `folder` holds a SavedModel and what its manifest, if there is one, lists."""
    manifest = check_manifest(folder)
    if manifest is None and not (folder / "model.savedmodel" / "saved_model.pb").is_file():
        raise VersionDamaged("model.savedmodel/saved_model.pb is missing")


def intact_versions(repository: Path) -> dict[int, Version]:
    """The versions that can be served, by number."""
    damage = find_damage(repository)
    return {number: version for number, version in read_versions(repository).items() if number not in damage}


def add_missing_manifests(repository: Path) -> None:
    """Write a manifest for each version that has none, such as a folder that was copied by hand.

    Its present content counts as intact, because nothing is known about an earlier one.
    """
    for number in version_numbers(repository):
        folder = version_path(repository, number)
        try:
            if read_manifest(folder) is None:
                check_version(folder)
                write_manifest(folder)
                log.warning("Version %d had no manifest; its files are recorded as they are now.", number)
        except VersionDamaged:  # find_damage reports it
            pass


def refuse_fatal_folders(repository: Path) -> None:
    """Raises VersionDamaged if a folder's number is so large that Triton would abort, whatever the version policy."""
    for name, number in folders_with_numbers(repository).items():
        if abs(number) > LARGEST_VERSION:
            raise VersionDamaged(
                f"{repository / CLASSIFIER / name} would make Triton abort: versions are whole numbers from 1 to "
                f"{LARGEST_VERSION}. Move the folder away"
            )
