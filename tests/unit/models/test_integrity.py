"""Damaged versions are left out and named; the service starts without them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.model_repository import copy_templates, install_classifier
from tests.support.tiny_model import LABELS
from tools.models import publishing
from tools.models.change import PublishingError
from tools.models.fingerprint import answers_fingerprint
from tools.models.repository import read_default, read_live_config, read_versions, version_path
from tools.triton.settings import TritonSettings


@pytest.fixture
def repository(tiny_savedmodel: Path, tmp_path: Path) -> Path:
    """Versions 1, 2 and 3, prepared for a start; the default is 3."""
    repository = tmp_path / "models"
    copy_templates(repository)
    install_classifier(repository, tiny_savedmodel, LABELS)
    for number in (2, 3):
        shutil.copytree(version_path(repository), version_path(repository, number))
    prepare(repository)
    return repository


def prepare(repository: Path) -> None:
    publishing.prepare(repository, TritonSettings())


def damage(repository: Path, number: int) -> None:
    graph = version_path(repository, number) / "model.savedmodel" / "saved_model.pb"
    content = graph.read_bytes()
    graph.write_bytes(content[:-100] + bytes(100))


def served(repository: Path) -> list[int]:
    return list(read_live_config("classifier", repository).version_policy.specific.versions)


def test_versions_without_a_manifest_get_one(repository: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = read_versions(repository)
    assert all(version.fingerprint for version in before.values())
    (version_path(repository, 2) / "manifest.json").unlink()
    prepare(repository)
    assert read_versions(repository) == before
    assert caplog.messages == ["Version 2 had no manifest; its files are recorded as they are now."]


def test_fingerprints_reach_the_configuration_of_birds(repository: Path) -> None:
    parameters = read_live_config("birds", repository).parameters
    for number, version in read_versions(repository).items():
        assert parameters[f"fingerprint.{number}"].string_value == answers_fingerprint(repository, version)
        assert len(version.fingerprint or "") == 64
    assert not any(name.startswith("random.") for name in parameters)


def test_a_damaged_version_is_left_out(repository: Path, caplog: pytest.LogCaptureFixture) -> None:
    damage(repository, 2)
    caplog.clear()
    prepare(repository)
    assert served(repository) == [1, 3]
    assert not (repository / "birds_v2").exists()
    assert "version.2" not in read_live_config("birds", repository).parameters
    assert [message.partition(":")[0] for message in caplog.messages] == ["Version 2 is damaged and is not served"]
    assert "model.savedmodel/saved_model.pb differs from manifest.json" in caplog.text


def test_a_damaged_default_stops_the_start(repository: Path) -> None:
    damage(repository, 3)
    with pytest.raises(PublishingError, match=r"version 3, the default, is damaged: .* birds models rollback --to N"):
        prepare(repository)
    assert publishing.set_default(repository) == 2
    prepare(repository)
    assert served(repository) == [1, 2]


def test_a_damaged_version_is_not_made_default(repository: Path) -> None:
    damage(repository, 2)
    with pytest.raises(PublishingError, match="version 2 is damaged"):
        publishing.set_default(repository, 2)
    assert publishing.set_default(repository) == 1  # the one before that is intact


def test_a_damaged_version_can_be_retired(repository: Path) -> None:
    damage(repository, 2)
    publishing.retire(repository, 2)
    assert list(read_versions(repository)) == [1, 3]
    prepare(repository)
    assert read_live_config("classifier", repository).version_policy.HasField("all")


STRAY: dict[str, Callable[[Path], object]] = {
    "version without a model": lambda r: version_path(r, 7).mkdir(),
    "file named like a version": lambda r: version_path(r, 7).write_text(""),
    "copy of a version": lambda r: (r / "classifier" / "2.bak").mkdir(),
    "version 0": lambda r: (r / "classifier" / "0").mkdir(),
    "file instead of an ensemble": lambda r: (r / "birds_v9").write_text(""),
    "file instead of the change's folder": lambda r: (r / ".publishing").write_text(""),
    "link instead of the change's folder": lambda r: (r / ".publishing").symlink_to("/nonexistent"),
}


@pytest.mark.parametrize("leave", STRAY.values(), ids=STRAY.keys())
def test_stray_files_do_not_stop_the_start(repository: Path, leave: Callable[[Path], object]) -> None:
    leave(repository)
    prepare(repository)
    assert served(repository) in ([1, 2, 3], [])
    assert read_default(repository) == 3
    assert not (repository / "birds_v7").exists()
    assert publishing.set_default(repository) == 2


@pytest.mark.parametrize("name", ["9223372036854775808", "20261127231500123456789", "-99999999999999999999", "9" * 40])
def test_a_folder_that_makes_triton_abort_is_refused(repository: Path, name: str) -> None:
    (repository / "classifier" / name).mkdir()
    with pytest.raises(PublishingError, match=r"would make Triton abort: versions are whole numbers from 1 to 9223"):
        prepare(repository)
