"""One change to the repository at a time: its lock, its folder, and the recovery from a change that was killed.

A change works in the folder `.publishing`, which exists only while the change is under way:

    .publishing/change.json    what the change will do outside of this folder, written before its first such step
    .publishing/scratch/       where the version is built, in `version`; a build may write nowhere else
    .publishing/previous/      the version that is being replaced or retired

What `recover` does about a change that was killed:

    change.json    files, configuration                        recovery
    -----------    -----------------------------------------   ----------------------------------------
    missing        scratch/ is incomplete                      undone: nothing outside has changed
    publish N      N/ exists, `birds` does not describe it     undone: N/ is removed
    publish N      `birds` describes N                         completed
    replace N      N/ is missing, previous/ exists             undone: previous/ becomes N/ again
    replace N      N/ exists                                   completed, or had not begun
    retire N       N/ exists                                   undone: had not begun
    retire N       N/ is missing                               completed

After that the configurations are derived again from the versions that exist, and a running Triton loads them.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from tools.errors import ToolError
from tools.models import live_config
from tools.models.durable import discard, move_folder, write_text
from tools.models.integrity import intact_versions
from tools.models.repository import (
    CLASSIFIER,
    ENSEMBLE,
    PREPROCESS,
    Version,
    live_config_path,
    read_default,
    version_numbers,
    version_path,
)
from tools.triton.control import ControlError, TritonControl

_FOLDER = ".publishing"
_LOCK = ".lock"
Kind = Literal["publish", "replace", "retire"]


class PublishingError(ToolError):
    """The change cannot be made, and nothing was changed; the text says why."""


class ChangeUnderWay(PublishingError):
    """Another process is changing the repository."""


@dataclass(frozen=True)
class Change:
    """What `change.json` holds."""

    kind: Kind
    version: int


@dataclass(frozen=True)
class Workspace:
    """The folder of a change that is under way."""

    folder: Path

    @property
    def draft(self) -> Path:
        return self.folder / "scratch" / "version"

    @property
    def previous(self) -> Path:
        return self.folder / "previous"

    def announce(self, kind: Kind, version: int) -> None:
        """Record what is about to be done. A change that is killed after this needs recovery."""
        write_text(self.folder / "change.json", json.dumps(asdict(Change(kind, version))))

    def read_announced(self) -> Change | None:
        try:
            change = Change(**json.loads((self.folder / "change.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return change if change.kind in get_args(Kind) and isinstance(change.version, int) else None


@contextmanager
def exclusive(repository: Path, control: TritonControl | None, wait: bool = False) -> Iterator[None]:
    """Hold the repository's lock, and first recover from a change that was killed.

    Raises ChangeUnderWay at once if another process holds the lock, unless told to `wait` for it.
    """
    try:
        lock = (repository / _LOCK).open("w")
    except OSError as error:
        raise PublishingError(f"{repository} cannot be written to: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise ChangeUnderWay(f"another change to {repository} is under way: wait until it is done") from error
        recover(repository, control)
        yield


@contextmanager
def workspace(repository: Path, control: TritonControl | None) -> Iterator[Workspace]:
    """Yield the folder for one change. If the change fails, it is undone."""
    work = Workspace(repository / _FOLDER)
    work.folder.mkdir()
    try:
        yield work
    except BaseException:
        with suppress(ControlError):  # the user needs to see the first error, not that Triton no longer answers
            recover(repository, control)
        recover(repository)
        raise
    discard(work.folder)


def recover(repository: Path, control: TritonControl | None = None) -> None:
    """Complete or undo a change that was killed. The caller holds the lock."""
    work = Workspace(repository / _FOLDER)
    change = work.read_announced()
    if change is not None:
        folder = version_path(repository, change.version)
        if change.kind == "publish" and change.version not in live_config.described_versions(repository):
            if control:
                control.unload(live_config.ensemble_of(change.version))
            discard(folder)
        if change.kind == "replace" and not folder.exists() and work.previous.exists():
            move_folder(work.previous, folder)
        _follow(repository, change.version, control)
    discard(work.folder)


def _follow(repository: Path, changed: int, control: TritonControl | None) -> None:
    """Derive the configurations again after the version `changed` was added or removed, and have Triton load them."""
    if not live_config_path(PREPROCESS, repository).exists():
        return  # Triton has never been started with this repository; the first start derives them
    versions, default = intact_versions(repository), read_default(repository)
    if control and changed not in version_numbers(repository):
        control.unload(live_config.ensemble_of(changed))
    load_preprocess(repository, versions, control)
    live_config.write_ensembles_of(repository, versions)
    live_config.write_classifier(repository, versions)
    if control:
        control.load(CLASSIFIER)
        if changed in versions:
            control.load(live_config.ensemble_of(changed))
    if default in versions:
        make_default(repository, versions, default, control)


def load_preprocess(repository: Path, versions: dict[int, Version], control: TritonControl | None) -> None:
    """Have `preprocess` produce the image sizes of `versions` and no others."""
    path = live_config_path(PREPROCESS, repository)
    before = path.read_bytes() if path.exists() else b""
    live_config.write_preprocess(repository, versions)
    if control and path.read_bytes() != before:
        control.load(PREPROCESS)


def make_default(repository: Path, versions: dict[int, Version], number: int, control: TritonControl | None) -> None:
    """Pin `birds` to the version `number`, and have Triton load it."""
    live_config.write_default(repository, versions, number)
    if control:
        control.load(ENSEMBLE)
