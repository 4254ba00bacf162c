"""What `birds models` does: lists, publishes, rolls back and retires versions of the classifier.

A running Triton follows at once and no request fails. If none is running, the change takes effect when it starts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.errors import UsageError
from tools.models import publishing
from tools.models.build_process import build_version
from tools.models.integrity import find_damage
from tools.models.options import BuildOptions
from tools.models.repository import (
    CLASSIFIER,
    Version,
    image_size,
    read_default,
    read_versions,
    savedmodel_path,
)
from tools.models.stop_signals import stoppable
from tools.triton.control import ControlError, TritonControl
from tools.triton.control_key import is_key_in_use

_RESTART_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Target:
    """A model repository, and the HTTP address of the Triton that serves it."""

    repository: Path
    triton_url: str
    offline: bool  # change the files even if the Triton of a running service does not answer

    def __post_init__(self) -> None:
        if not savedmodel_path(self.repository).parents[1].is_dir():
            raise UsageError(f"{self.repository} is not a model repository: it has no folder {CLASSIFIER}")


def list_versions(target: Target) -> list[dict[str, Any]]:
    """Describe every version, damaged ones too. `note` says what is wrong or unusual with a version."""
    triton = TritonControl(target.triton_url)
    is_running = triton.is_running()
    served = triton.ready_versions(CLASSIFIER) if is_running else set()
    default, damage = read_default(target.repository), find_damage(target.repository)
    versions = read_versions(target.repository).values()
    if versions and not is_running:
        _say(f"No Triton answers at {triton.url}, so no version counts as served. For another address: --triton URL")
    return [_describe(version, default, served, damage.get(version.number)) for version in versions]


def publish(target: Target, options: BuildOptions, version: int | None, becomes_default: bool) -> dict[str, Any]:
    """Check a model and serve it as a new version. Raises PublishingError, BuildError or ControlError."""
    if not options.source and not options.own:
        raise UsageError("say what to publish: --savedmodel PATH --labels FILE, or --source NAME")
    started = time.monotonic()
    built = started

    def build(directory: Path) -> None:
        nonlocal built
        build_version(directory, options, image_size(target.repository))
        built = time.monotonic()
        _say("Publishing …")

    with _changing(target) as control:
        number = publishing.publish(target.repository, build, version, becomes_default, control)
    return {
        "published": number,
        "default": read_default(target.repository),
        "seconds_to_build": round(built - started, 2),
        "seconds_to_first_answer": round(time.monotonic() - built, 2) if control else None,
    }


def rollback(target: Target, to: int | None) -> dict[str, Any]:
    """Make an older version the default. Raises PublishingError or ControlError."""
    with _changing(target) as control:
        return {"default": publishing.set_default(target.repository, to, control)}


def retire(target: Target, version: int) -> dict[str, Any]:
    """Take a version out of service and delete it. Raises PublishingError or ControlError."""
    with _changing(target) as control:
        publishing.retire(target.repository, version, control)
    return {"retired": version, "default": read_default(target.repository)}


def _is_running(triton: TritonControl, offline: bool) -> bool:
    """Return whether Triton runs. If a service runs whose Triton does not answer, wait: it may be restarting.

    Raises ControlError if it does not answer in time, and UnreadableKey, unless `offline`.
    """
    deadline = time.monotonic() + _RESTART_TIMEOUT_SECONDS
    while not triton.is_running():
        if offline or not is_key_in_use(triton.url):
            return False
        if time.monotonic() > deadline:
            raise ControlError(
                f"the Triton of the running service does not answer at {triton.url}; nothing was changed. "
                "To change the files anyway: --offline"
            )
        time.sleep(0.5)
    return True


@contextmanager
def _changing(target: Target) -> Iterator[TritonControl | None]:
    """Yield the control of the running Triton, if any. A Triton that has started meanwhile then catches up."""
    triton = TritonControl(target.triton_url)
    control = triton if _is_running(triton, target.offline) else None
    with stoppable():
        yield control
    if control is None and triton.is_running():
        publishing.catch_up(target.repository, triton)
    elif control is None:
        _say(f"No Triton answers at {triton.url}: this takes effect when it starts.")


def _describe(version: Version, default: int | None, served: set[int], damage: str | None) -> dict[str, Any]:
    about = version.about
    note = f"damaged: {damage}" if damage else "answers at random" if about and about.random else None
    return {
        "version": version.number,
        "default": version.number == default,
        "served": version.number in served,
        "labels": version.labels,
        "size": f"{about.height}x{about.width}" if about else None,
        "engine": about and about.engine,
        "published": about and about.published,
        "source": about and about.source,
        "note": note,
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
