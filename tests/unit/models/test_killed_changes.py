"""A change that is killed at any step, or that Triton refuses at any call, is either completed or undone."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_repository import copy_templates, install_classifier
from tests.support.tiny_model import LABELS
from tools.models import change, live_config, publishing
from tools.models.integrity import find_damage
from tools.models.live_config import described_versions
from tools.models.repository import read_default, read_versions, version_path
from tools.triton.control import ControlError
from tools.triton.settings import TritonSettings

# Everything that writes to the repository.
STEPS: tuple[tuple[Any, str], ...] = (
    (publishing, "move_folder"),
    (publishing, "write_manifest"),
    (change, "write_text"),
    (change, "discard"),
    (live_config, "write_text"),
    (live_config, "discard"),
)

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@pytest.fixture
def repository(tiny_savedmodel: Path, tmp_path: Path) -> Path:
    """Versions 1 and 2, prepared for a start; the default is 2."""
    repository = tmp_path / "models"
    copy_templates(repository)
    install_classifier(repository, tiny_savedmodel, LABELS)
    shutil.copytree(version_path(repository), version_path(repository, 2))
    publishing.prepare(repository, TritonSettings())
    return repository


class FakeControl:
    """A Triton that refuses its `failing`-th call."""

    url = "http://fake"

    def __init__(self, failing: int | None = None) -> None:
        self.failing = failing
        self.calls: list[str] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if len(self.calls) - 1 == self.failing:
            raise ControlError("refused")

    def load(self, model: str) -> None:
        self._call(f"load {model}")

    def unload(self, model: str) -> None:
        self._call(f"unload {model}")

    def probe(self, model: str) -> None:
        self._call(f"probe {model}")


def build(directory: Path) -> None:
    shutil.copytree(directory.parents[2] / "classifier" / "1" / "model.savedmodel", directory / "model.savedmodel")
    (directory / "labels.txt").write_text("a\nb\nc\nd\n")


CHANGES: dict[str, Callable[[Path, Any], object]] = {
    "publish": lambda r, control: publishing.publish(r, build, control=control),
    "publish, not default": lambda r, control: publishing.publish(r, build, becomes_default=False, control=control),
    "rollback": lambda r, control: publishing.set_default(r, control=control),
    "retire": lambda r, control: publishing.retire(r, 1, control),
    "replace": lambda r, _: publishing.replace(r, build, 1),
}


def state(repository: Path) -> tuple[object, ...]:
    """The state of the repository after a start: the versions with their fingerprints, and the default."""
    publishing.prepare(repository, TritonSettings())
    versions = read_versions(repository)
    assert not (repository / ".publishing").exists()
    assert not find_damage(repository)
    assert described_versions(repository) == set(versions)
    assert {path.name for path in repository.glob("birds_v*")} == {f"birds_v{number}" for number in versions}
    return {number: version.fingerprint for number, version in versions.items()}, read_default(repository)


def finishes(make_change: Callable[[Path, Any], object], repository: Path, step: int) -> bool:
    """Make the change in a process that ends before its `step`-th write to disk. Returns False if it was ended."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    try:
        steps = itertools.count()
        for module, name in STEPS:
            setattr(module, name, _ending_at(step, steps, getattr(module, name)))
        make_change(repository, None)
        os._exit(0)
    except BaseException:
        os._exit(1)


def _ending_at(step: int, steps: Iterator[int], function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*arguments: Any) -> Any:
        if next(steps) == step:
            os._exit(9)
        return function(*arguments)

    return wrapper


@pytest.mark.parametrize("name", CHANGES)
def test_a_kill_at_any_step_is_recovered_from(repository: Path, tmp_path: Path, name: str) -> None:
    before = state(repository)
    done = tmp_path / "done"
    shutil.copytree(repository, done)
    CHANGES[name](done, None)
    after = state(done)
    seen = set()
    for step in range(40):
        copy = tmp_path / f"killed-{step}"
        shutil.copytree(repository, copy)
        finished = finishes(CHANGES[name], copy, step)
        outcome = state(copy)
        assert outcome in (before, after), step
        seen.add(outcome == after)
        if finished:
            assert outcome == after
            break
    else:
        pytest.fail("the change has more than 40 steps")
    assert seen == {False, True}


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "replace"])
def test_a_refusal_by_triton_changes_nothing(repository: Path, tmp_path: Path, name: str) -> None:
    before = state(repository)
    control = FakeControl()
    done = tmp_path / "done"
    shutil.copytree(repository, done)
    CHANGES[name](done, control)
    after = state(done)
    for failing in range(len(control.calls)):
        copy = tmp_path / f"refused-{failing}"
        shutil.copytree(repository, copy)
        with pytest.raises(ControlError):
            CHANGES[name](copy, FakeControl(failing))
        assert state(copy) in (before, after), control.calls[failing]


def test_a_first_publish_that_triton_refuses_leaves_nothing(repository: Path) -> None:
    """There is no default to go back to."""
    for number in (1, 2):
        shutil.rmtree(version_path(repository, number))
    for path in (*repository.glob("*/configs"), *repository.glob("birds_v*")):
        shutil.rmtree(path)

    def build(directory: Path) -> None:
        (directory / "model.savedmodel").mkdir()
        (directory / "model.savedmodel" / "saved_model.pb").write_bytes(b"graph")

    templates = repository.with_name("templates")
    shutil.copytree(repository, templates)
    control = FakeControl()
    publishing.publish(repository, build, control=control)  # type: ignore[arg-type]
    assert control.calls[-2:] == ["probe birds_v1", "load birds"]
    for failing in range(len(control.calls)):
        shutil.rmtree(repository)
        shutil.copytree(templates, repository)
        with pytest.raises(ControlError):
            publishing.publish(repository, build, control=FakeControl(failing))  # type: ignore[arg-type]
        assert read_versions(repository) == {}
        assert described_versions(repository) == set()
