"""Changes which versions of the classifier there are and which is the default; a running Triton follows at once.

A change is begun in the folder `.publishing` and takes effect with one rename. What fails or is killed before it is
undone, at once or by whoever comes next.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tools.errors import ToolError
from tools.models import live_config
from tools.models.repository import (
    CLASSIFIER,
    ENSEMBLE,
    PREPROCESS,
    Version,
    live_config_path,
    read_default,
    read_live_config,
    read_versions,
    version_path,
)
from tools.triton.arguments import models_in
from tools.triton.control import ControlError, TritonControl
from tools.triton.settings import TritonSettings

_WORKPLACE = ".publishing"
_LOCK = ".lock"


class PublishingError(ToolError):
    """The change cannot be made, and nothing was changed; the text says why."""


class ChangeUnderWay(PublishingError):
    """Somebody else is changing the repository."""


def publish(
    repository: Path,
    build: Callable[[Path], None],
    number: int | None = None,
    becomes_default: bool = True,
    control: TritonControl | None = None,
) -> int:
    """Add the version that `build` writes into the folder it is given; returns its number.

    `number` must be free; without one it is the next after the newest. `control` is the running Triton, which loads
    the version and answers a request with it before it becomes the default. Raises PublishingError, or whatever
    `build` and `control` raise: then everything is as it was.
    """
    with _exclusively(repository, control):
        versions, default = read_versions(repository), read_default(repository)
        if number in versions:
            raise PublishingError(f"version {number} exists: leave out --version, or retire {number} first")
        number = number or max(versions, default=0) + 1
        draft = repository / _WORKPLACE / "version"
        draft.mkdir(parents=True)
        try:
            build(draft)
            _sync_to_disk(draft)
            (draft.parent / "number").write_text(str(number))  # from here on a kill leaves a version to be removed
            os.rename(draft, version_path(repository, number))
            versions = read_versions(repository)
            _serve(repository, versions, number, control)
            _make_default(repository, versions, number if becomes_default or default is None else default, control)
        except BaseException:
            _undo(repository, default, control)
            raise
        shutil.rmtree(draft.parent)
        return number


def replace(repository: Path, build: Callable[[Path], None], number: int = 1) -> None:
    """Put what `build` writes in the place of version `number`, there or not; Triton finds it when it starts."""
    with _exclusively(repository, None):
        workplace = repository / _WORKPLACE
        (workplace / "version").mkdir(parents=True)
        try:
            build(workplace / "version")
            target = version_path(repository, number)
            if target.exists():
                (workplace / "replaces").write_text(str(number))
                os.rename(target, workplace / "replaced")
            os.rename(workplace / "version", target)
        finally:
            recover(repository)


def set_default(repository: Path, number: int | None = None, control: TritonControl | None = None) -> int:
    """Make `number` the default, or without one the version before the present default; returns it."""
    with _exclusively(repository, control):
        versions, default = read_versions(repository), read_default(repository)
        if number is None:
            number = max((older for older in versions if default is not None and older < default), default=None)
            if number is None:
                raise PublishingError(f"there is no version before {default} to roll back to")
        _require(number, versions)
        if number == default:
            raise PublishingError(f"version {number} is the default already")
        try:
            _make_default(repository, versions, number, control)
        except BaseException:
            with suppress(ControlError):
                _make_default(repository, versions, default or number, control)
            raise
        return number


def retire(repository: Path, number: int, control: TritonControl | None = None) -> None:
    """Take a version out of service and delete it. The default cannot be retired."""
    with _exclusively(repository, control):
        versions, default = read_versions(repository), read_default(repository)
        _require(number, versions)
        if number == default:
            raise PublishingError(f"version {number} is the default: publish another or roll back first")
        workplace = repository / _WORKPLACE
        workplace.mkdir()
        remaining = {kept: version for kept, version in versions.items() if kept != number}
        assert default is not None
        _make_default(repository, remaining, default, control)  # so that nobody is told of the other any more
        if control:
            control.unload(live_config.ensemble_of(number))
        os.rename(version_path(repository, number), workplace / "retired")
        live_config.write_ensembles_of(repository, remaining)
        _decode_for(repository, remaining, control)
        if control:
            control.load(CLASSIFIER)
        shutil.rmtree(workplace)


def catch_up(repository: Path, control: TritonControl) -> None:
    """Have a Triton that started while the repository was being changed serve what there is now."""
    with _exclusively(repository, None, patiently=True):
        models = models_in(repository)
        for gone in {name for name, _ in control.ready()} - set(models):
            control.unload(gone)
        for model in sorted(models, key=_load_order):
            control.load(model)


def prepare(repository: Path, settings: TritonSettings, patiently: bool = True) -> None:
    """Make `repository` ready for a Triton that is about to start: no leftovers, every live configuration.

    While somebody else changes it, `patiently` waits for the end of that; else everything is left to them.
    """
    try:
        with _exclusively(repository, None, patiently):
            live_config.write_all(repository, settings)
    except ChangeUnderWay:
        pass  # only when not patient: Triton then starts with what there is


def clear_away(repository: Path) -> None:
    """Clear away what a killed change left behind, unless somebody else is at work: then it is theirs."""
    with suppress(PublishingError), _exclusively(repository, None):
        pass


def recover(repository: Path, control: TritonControl | None = None) -> None:
    """Clear away what a killed change left behind."""
    workplace = repository / _WORKPLACE
    if not workplace.exists():
        return
    half_published = _number_in(workplace / "number")
    if half_published is not None and half_published not in _told_of(repository):
        if control:
            control.unload(live_config.ensemble_of(half_published))
        shutil.rmtree(version_path(repository, half_published), ignore_errors=True)
        live_config.write_ensembles_of(repository, read_versions(repository))
        _decode_for(repository, read_versions(repository), control)
        if control:
            control.load(CLASSIFIER)
    elif half_published is not None and control:
        control.load(ENSEMBLE)  # it was published, but for telling Triton
    replaced = _number_in(workplace / "replaces")
    if replaced is not None and not version_path(repository, replaced).exists() and (workplace / "replaced").exists():
        os.rename(workplace / "replaced", version_path(repository, replaced))
    shutil.rmtree(workplace)


def _serve(repository: Path, versions: dict[int, Version], number: int, control: TritonControl | None) -> None:
    """Have Triton serve the version `number` beside the others, by an ensemble of its own."""
    _decode_for(repository, versions, control)
    live_config.write_ensembles_of(repository, versions)
    if control is None:
        return
    control.load(CLASSIFIER)
    control.load(live_config.ensemble_of(number))
    control.probe(live_config.ensemble_of(number))


def _decode_for(repository: Path, versions: dict[int, Version], control: TritonControl | None) -> None:
    """Have `preprocess` make the image sizes of these versions and no others."""
    path = live_config_path(PREPROCESS, repository)
    before = path.read_bytes() if path.exists() else b""
    live_config.write_preprocess(repository, versions)
    if control and path.read_bytes() != before:
        control.load(PREPROCESS)


def _make_default(repository: Path, versions: dict[int, Version], number: int, control: TritonControl | None) -> None:
    live_config.write_default(repository, versions, number)
    if control:
        control.load(ENSEMBLE)


def _undo(repository: Path, default: int | None, control: TritonControl | None) -> None:
    number = _number_in(repository / _WORKPLACE / "number")
    with suppress(ControlError):  # what went wrong first is what the user is told
        if number is not None and default is not None:
            others = {kept: version for kept, version in read_versions(repository).items() if kept != number}
            _make_default(repository, others, default, control)
        recover(repository, control)
    recover(repository)


def _told_of(repository: Path) -> set[int]:
    """The versions that the live configuration of the ensemble tells of: the ones that have been published."""
    names = read_live_config(ENSEMBLE, repository).parameters
    return {int(name.removeprefix("version.")) for name in names if name.startswith("version.")}


def _load_order(model: str) -> tuple[int, str]:
    """Steps before the ensembles that are made of them, and last the one that tells of all versions."""
    return [PREPROCESS, CLASSIFIER].index(model) if model in (PREPROCESS, CLASSIFIER) else 2 + (
        model == ENSEMBLE
    ), model


def _require(number: int, versions: dict[int, Version]) -> None:
    if number not in versions:
        there = ", ".join(map(str, versions)) or "none"
        raise PublishingError(f"there is no version {number} (there are: {there})")


def _number_in(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


@contextmanager
def _exclusively(repository: Path, control: TritonControl | None, patiently: bool = False) -> Iterator[None]:
    """Hold the repository's lock; first clear away what a killed predecessor left."""
    try:
        lock = (repository / _LOCK).open("w")
    except OSError as error:
        raise PublishingError(f"{repository} cannot be written to: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if patiently else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise ChangeUnderWay(f"another change to {repository} is under way: wait until it is done") from error
        recover(repository, control)
        yield


def _sync_to_disk(folder: Path) -> None:
    """Weights that are only in memory when the power fails would be a half version."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
