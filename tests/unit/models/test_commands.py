"""`birds models` on files alone: one clear line for every mistake, which changes nothing."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.offline_models import NOBODY, contents, run, stays_unchanged, stopped_repository
from tools.models import commands, publishing
from tools.models.repository import read_default, read_versions
from tools.serve.ports import free_port
from tools.triton import control_key
from tools.triton.settings import TritonSettings


@pytest.fixture
def repository(tiny_savedmodel: Path, tmp_path: Path) -> Path:
    return stopped_repository(tmp_path / "models", tiny_savedmodel)


@pytest.mark.parametrize("arguments", [["rollback", "--to", "2"], ["retire", "2"]])
def test_a_silent_triton_of_a_running_service_is_an_error(
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The files changed and the exit code was 0, while users kept getting the old version."""
    shutil.copytree(repository / "classifier" / "1", repository / "classifier" / "2")
    publishing.prepare(repository, TritonSettings())
    before = contents(repository)
    monkeypatch.setattr(commands, "_RESTART_TIMEOUT_SECONDS", 0)
    monkeypatch.setattr(control_key, "KEYS", tmp_path / "keys")
    _, lock = control_key.create_key(int(NOBODY.rpartition(":")[2]), free_port())
    try:
        assert run(repository, *arguments) == 1
        assert "does not answer" in capfd.readouterr().err
        assert contents(repository) == before
        assert run(repository, *arguments, "--offline") == 0
    finally:
        os.close(lock)


def test_list_says_that_no_triton_answers(repository: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """SERVED was `no` without a reason while the service ran on other ports."""
    assert run(repository, "list") == 0
    shown = capfd.readouterr()
    assert f"No Triton answers at {NOBODY}" in shown.err
    assert "SERVED" in shown.out


def test_an_unreadable_control_key_is_an_error_at_once(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Another user's key was taken for a lock: the command waited 60 s and then blamed Triton."""
    shutil.copytree(repository / "classifier" / "1", repository / "classifier" / "2")
    publishing.prepare(repository, TritonSettings())
    before = contents(repository)
    monkeypatch.setattr(control_key, "KEYS", tmp_path / "keys")
    path = control_key.key_path(NOBODY.rpartition(":")[2])
    path.mkdir(parents=True)  # root can read every file, but not a folder
    assert run(repository, "retire", "2") == 1
    error = capfd.readouterr().err
    assert f"the control key in {path} cannot be read (Is a directory)" in error
    assert "account that started the service" in error
    assert contents(repository) == before
    assert run(repository, "retire", "2", "--offline") == 0


@pytest.fixture
def unchanged(repository: Path) -> Iterator[None]:
    with stays_unchanged(repository):
        yield


def add_version(repository: Path, savedmodel: Path, number: int | None = None) -> int:
    def build(directory: Path) -> None:
        shutil.copytree(savedmodel, directory / "model.savedmodel")
        (directory / "labels.txt").write_text("Red\nGreen\nBlue\n")

    return publishing.publish(repository, build, number)


def test_versions_are_sorted_as_numbers(repository: Path, tiny_savedmodel: Path) -> None:
    assert add_version(repository, tiny_savedmodel, 10) == 10
    assert add_version(repository, tiny_savedmodel, 9) == 9
    assert list(read_versions(repository)) == [1, 9, 10]
    assert add_version(repository, tiny_savedmodel) == 11
    assert publishing.set_default(repository) == 10


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["publish", "--source=imagenet-birds", "--version=1"], "version 1 exists"),
        (["rollback"], "there is no version before 1 to roll back to"),
        (["rollback", "--to=1"], "version 1 is the default already"),
        (["rollback", "--to=7"], "there is no version 7 (there are: 1)"),
        (["retire", "7"], "there is no version 7 (there are: 1)"),
        (["retire", "1"], "version 1 is the default"),
    ],
    ids=" ".join,
)
def test_an_impossible_version_is_refused(
    repository: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(repository, *arguments) == 1
    assert message in capfd.readouterr().err


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("number", ["0", "-1", "two", "1.5", ""])
def test_a_version_is_a_whole_number_from_1(repository: Path, capfd: pytest.CaptureFixture[str], number: str) -> None:
    assert run(repository, "publish", "--source=imagenet-birds", f"--version={number}") == 2
    assert "Invalid value for '--version'" in capfd.readouterr().err


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("number", ["9223372036854775808", "20261127231500123456789"])
def test_a_number_that_aborts_triton_is_refused(
    repository: Path, capfd: pytest.CaptureFixture[str], number: str
) -> None:
    """Before anything is built."""
    assert run(repository, "publish", "--source=imagenet-birds", f"--version={number}") == 1
    assert "is not a version: versions are whole numbers from 1 to 9223372036854775807" in capfd.readouterr().err


def test_only_one_change_at_a_time(repository: Path, tiny_savedmodel: Path) -> None:
    with (repository / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(publishing.PublishingError, match=r"another change to .* is under way"):
            add_version(repository, tiny_savedmodel)
    assert list(read_versions(repository)) == [1]


@pytest.mark.usefixtures("unchanged")
def test_missing_write_permission_is_one_line(
    repository: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write anywhere, so the refusal is the system call's."""

    original = Path.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.is_relative_to(repository):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    assert run(repository, "rollback") == 1
    assert "cannot be written to: Permission denied" in capfd.readouterr().err


def test_a_publish_killed_between_its_last_steps_is_undone(repository: Path, tiny_savedmodel: Path) -> None:
    """As a kill leaves it after the version is in place, and before it is the default."""
    before = contents(repository)
    shutil.copytree(tiny_savedmodel, repository / "classifier" / "2" / "model.savedmodel")
    (repository / ".publishing").mkdir()
    (repository / ".publishing" / "change.json").write_text('{"kind": "publish", "version": 2}')
    publishing.prepare(repository, TritonSettings())
    assert contents(repository) == before
    assert read_default(repository) == 1


def test_help_is_fast_and_has_examples() -> None:
    help_text = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tools.cli", "models", "publish", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "publish --savedmodel PATH --labels FILE" in help_text.stdout
    assert "tensorflow" not in help_text.stderr
