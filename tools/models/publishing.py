"""Publishes, replaces and retires versions of the classifier, and chooses the default.

A running Triton follows at once. Every change takes effect with one rename. If a change fails or is killed before its
rename, it is undone: see change.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from version_manifest import VersionDamaged, write_manifest

from tools.models import live_config
from tools.models.change import (
    ChangeUnderWay,
    PublishingError,
    Workspace,
    exclusive,
    load_preprocess,
    make_default,
    workspace,
)
from tools.models.durable import move_folder
from tools.models.integrity import (
    add_missing_manifests,
    find_damage,
    intact_versions,
    refuse_fatal_folders,
)
from tools.models.repository import (
    CLASSIFIER,
    ENSEMBLE,
    LARGEST_VERSION,
    PREPROCESS,
    Version,
    read_default,
    version_numbers,
    version_path,
)
from tools.triton.arguments import models_in
from tools.triton.control import ControlError, TritonControl
from tools.triton.settings import TritonSettings

__all__ = ["ChangeUnderWay", "PublishingError"]
log = logging.getLogger(__name__)


def publish(
    repository: Path,
    build: Callable[[Path], None],
    number: int | None = None,
    becomes_default: bool = True,
    control: TritonControl | None = None,
) -> int:
    """Add the version that `build` writes into the folder that it is given; return the version's number.

    `number` must be unused; by default it is one more than the highest. `control` is the running Triton: it loads the
    version and classifies one image with it before the version becomes the default. Raises PublishingError, or what
    `build` and `control` raise; then everything is as it was before.
    """
    with exclusive(repository, control):
        number = _free_number(repository, number)
        versions, default = intact_versions(repository), read_default(repository)
        new_default = number if becomes_default or default is None else default
        if new_default != number:
            _require_intact(repository, new_default, versions)
        with workspace(repository, control) as work:
            work.draft.mkdir(parents=True)
            build(work.draft)
            write_manifest(work.draft)
            work.announce("publish", number)
            move_folder(work.draft, version_path(repository, number))
            try:
                _serve(repository, number, control)
                make_default(repository, intact_versions(repository), new_default, control)
            except BaseException:
                _restore_default(repository, versions, default, control)
                raise
        return number


def replace(repository: Path, build: Callable[[Path], None], number: int = 1) -> None:
    """Install what `build` writes as version `number`, replacing an existing one. Triton must not be running."""
    with exclusive(repository, None), workspace(repository, None) as work:
        work.draft.mkdir(parents=True)
        build(work.draft)
        write_manifest(work.draft)
        work.announce("replace", number)
        target = version_path(repository, number)
        if target.exists():
            move_folder(target, work.previous)
        move_folder(work.draft, target)


def set_default(repository: Path, number: int | None = None, control: TritonControl | None = None) -> int:
    """Make `number` the default and return it. Without a number: the intact version before the current default."""
    with exclusive(repository, control):
        versions, default = intact_versions(repository), read_default(repository)
        if number is None:
            number = max((older for older in versions if default is not None and older < default), default=None)
            if number is None:
                raise PublishingError(f"there is no version before {default} to roll back to")
        _require_intact(repository, number, versions)
        if number == default:
            raise PublishingError(f"version {number} is the default already")
        try:
            make_default(repository, versions, number, control)
        except BaseException:
            with suppress(ControlError):
                _restore_default(repository, versions, default, control)
            raise
        return number


def retire(repository: Path, number: int, control: TritonControl | None = None) -> None:
    """Take a version out of service and delete it. The default cannot be retired."""
    with exclusive(repository, control):
        versions, default = intact_versions(repository), read_default(repository)
        _require_existing(repository, number)
        if number == default or default is None:
            raise PublishingError(f"version {number} is the default: publish another or roll back first")
        remaining = {other: version for other, version in versions.items() if other != number}
        with workspace(repository, control) as work:
            work.announce("retire", number)
            if default in remaining:
                make_default(repository, remaining, default, control)  # `birds` no longer describes the version
            _remove(repository, number, remaining, work, control)


def _remove(
    repository: Path, number: int, remaining: dict[int, Version], work: Workspace, control: TritonControl | None
) -> None:
    if control:
        control.unload(live_config.ensemble_of(number))
    move_folder(version_path(repository, number), work.previous)
    live_config.write_ensembles_of(repository, remaining)
    live_config.write_classifier(repository, remaining)
    load_preprocess(repository, remaining, control)
    if control:
        control.load(CLASSIFIER)


def catch_up(repository: Path, control: TritonControl) -> None:
    """Update a Triton that was starting while the repository changed: it serves the versions that exist now."""
    with exclusive(repository, None, wait=True):
        models = models_in(repository)
        for gone in {name for name, _ in control.ready()} - set(models):
            control.unload(gone)
        for model in _in_load_order(models):
            control.load(model)


def prepare(repository: Path, settings: TritonSettings, wait: bool = True) -> None:
    """Make `repository` ready for a Triton that is about to start: no leftovers, manifests, live configurations.

    Damaged versions are left out, and named in the log. Raises PublishingError if the default is damaged, or if there
    is a folder that would make Triton abort. While another process changes the repository, this either waits or, with
    `wait` off, leaves the preparation to it.
    """
    try:
        with exclusive(repository, None, wait):
            refuse_fatal_folders(repository)
            add_missing_manifests(repository)
            _require_intact_default(repository)
            live_config.write_all(repository, settings)
    except VersionDamaged as error:
        raise PublishingError(str(error)) from error
    except ChangeUnderWay:
        pass  # Triton starts with the configurations as they are


def clear_away(repository: Path) -> None:
    """Recover from a change that was killed. While another process makes a change, this does nothing."""
    with suppress(PublishingError), exclusive(repository, None):
        pass


def _serve(repository: Path, number: int, control: TritonControl | None) -> None:
    """Have Triton serve the version `number` beside the others, with an ensemble of its own."""
    versions = intact_versions(repository)
    load_preprocess(repository, versions, control)
    live_config.write_ensembles_of(repository, versions)
    live_config.write_classifier(repository, versions)
    if control is None:
        return
    control.load(CLASSIFIER)
    control.load(live_config.ensemble_of(number))
    control.probe(live_config.ensemble_of(number))


def _restore_default(
    repository: Path, versions: dict[int, Version], default: int | None, control: TritonControl | None
) -> None:
    """Restore the configuration of `birds` to what it was before a publish or rollback."""
    if default not in versions:
        live_config.remove_default(repository)
        return
    live_config.write_default(repository, versions, default)
    with suppress(ControlError):  # the user needs to see the first error
        make_default(repository, versions, default, control)


def _in_load_order(models: Iterable[str]) -> list[str]:
    """Steps first, then the ensembles that use them, and last `birds`, which describes all versions."""
    ranks = {PREPROCESS: 0, CLASSIFIER: 1, ENSEMBLE: 3}
    return sorted(models, key=lambda model: (ranks.get(model, 2), model))


def _free_number(repository: Path, number: int | None) -> int:
    numbers = version_numbers(repository)
    if number is None:
        number = max(numbers, default=0) + 1
        if number > LARGEST_VERSION:
            raise PublishingError(f"version {LARGEST_VERSION} is the highest: choose a number with --version")
    elif not 1 <= number <= LARGEST_VERSION:
        raise PublishingError(f"{number} is not a version: versions are whole numbers from 1 to {LARGEST_VERSION}")
    if version_path(repository, number).exists():
        raise PublishingError(f"version {number} exists: leave out --version, or retire {number} first")
    return number


def _require_existing(repository: Path, number: int) -> None:
    numbers = version_numbers(repository)
    if number not in numbers:
        existing = ", ".join(map(str, numbers)) or "none"
        raise PublishingError(f"there is no version {number} (there are: {existing})")


def _require_intact(repository: Path, number: int, versions: dict[int, Version]) -> None:
    _require_existing(repository, number)
    if number not in versions:
        raise PublishingError(f"version {number} is damaged: {find_damage(repository)[number]}")


def _require_intact_default(repository: Path) -> None:
    """Name every damaged version in the log; raise if the default is one of them."""
    default = read_default(repository)
    for number, damage in find_damage(repository).items():
        if number != default:
            log.warning("Version %d is damaged and is not served: %s.", number, damage)
            continue
        raise PublishingError(
            f"version {number}, the default, is damaged: {damage}. Choose another with: birds models rollback --to N; "
            f"or publish the model again"
        )
