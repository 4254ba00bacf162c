"""A folder becomes a model repository that Triton can serve, and stays one when it is prepared again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from version_manifest import write_manifest

from tests.support.model_repository import install_classifier
from tests.support.tiny_model import LABELS
from tools.cli.main import main
from tools.models.repository import MODEL_REPOSITORY, read_default, read_live_config, read_versions, version_path


@pytest.fixture
def versions(tiny_savedmodel: Path, tmp_path: Path) -> Path:
    """A folder with two versions."""
    install_classifier(tmp_path / "built", tiny_savedmodel, LABELS)
    folder = tmp_path / "versions"
    for number in ("1", "3"):
        shutil.copytree(version_path(tmp_path / "built"), folder / number)
    return folder


def prepare(repository: Path, *arguments: str) -> int:
    return main(["models", "prepare", str(repository), *arguments])


def test_copied_versions_are_served_newest_by_default(versions: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    assert prepare(repository, f"--versions={versions}") == 0
    assert list(read_versions(repository)) == [1, 3]
    assert read_default(repository) == 3
    assert (repository / "birds_v1" / "config.pbtxt").exists()
    assert (repository / "preprocess" / "1" / "model.py").read_bytes() == (
        MODEL_REPOSITORY / "preprocess" / "1" / "model.py"
    ).read_bytes()


def test_default_and_settings_are_applied(versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIRDS_PREPROCESS_INSTANCES", "3")
    repository = tmp_path / "repository"
    repository.mkdir()
    assert prepare(repository, f"--versions={versions}", "--default=1") == 0
    assert read_default(repository) == 1
    assert read_live_config("preprocess", repository).instance_group[0].count == 3


def test_preparing_again_updates_templates_and_keeps_versions(versions: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    assert prepare(repository, f"--versions={versions}", "--default=1") == 0
    (repository / "preprocess" / "1" / "model.py").write_text("old")
    labels = version_path(repository, 1) / "labels.txt"
    labels.write_text(labels.read_text().replace(LABELS[0], "Kept by hand"))
    (version_path(repository, 1) / "manifest.json").unlink()
    assert prepare(repository, f"--versions={versions}") == 0
    assert (repository / "preprocess" / "1" / "model.py").read_text() != "old"
    assert "Kept by hand" in labels.read_text()
    assert read_default(repository) == 1


@pytest.mark.parametrize("folder", ["empty", "one.savedmodel", "01x"])
def test_a_folder_without_versions_is_refused(tmp_path: Path, folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "versions"
    (source / folder / ("model.savedmodel" if folder != "empty" else "other")).mkdir(parents=True)
    (tmp_path / "repository").mkdir()
    assert prepare(tmp_path / "repository", f"--versions={source}") == 1
    assert "version" in capsys.readouterr().err


def test_an_invalid_setting_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIRDS_MAX_BATCH_SIZE", "none at all")
    assert prepare(tmp_path) == 2
    assert not list(tmp_path.iterdir())


def test_a_damaged_source_version_is_not_copied(
    versions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As an interrupted download from a bucket leaves it."""
    write_manifest(versions / "3")
    (versions / "3" / "labels.txt").write_text("half")
    repository = tmp_path / "repository"
    repository.mkdir()
    assert prepare(repository, f"--versions={versions}") == 1
    assert "3 is damaged: labels.txt differs from manifest.json" in capsys.readouterr().err
    assert 3 not in read_versions(repository)


def test_the_default_may_move_away_from_damage(versions: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    assert prepare(repository, f"--versions={versions}") == 0
    (version_path(repository, 3) / "labels.txt").write_text("damaged")
    assert prepare(repository, f"--versions={versions}") == 1
    assert prepare(repository, f"--versions={versions}", "--default=1") == 0
    assert not (repository / "birds_v3").exists()
