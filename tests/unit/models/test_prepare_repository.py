"""A folder becomes a model repository that Triton can be started over, and stays one when it is prepared again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

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


def test_versions_of_a_folder_are_served_the_newest_by_default(versions: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    assert prepare(repository, f"--versions={versions}") == 0
    assert list(read_versions(repository)) == [1, 3]
    assert read_default(repository) == 3
    assert (repository / "birds_v1" / "config.pbtxt").exists()
    assert (repository / "preprocess" / "1" / "model.py").read_bytes() == (
        MODEL_REPOSITORY / "preprocess" / "1" / "model.py"
    ).read_bytes()


def test_the_default_can_be_an_older_one_and_settings_are_heeded(
    versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIRDS_PREPROCESS_INSTANCES", "3")
    repository = tmp_path / "repository"
    repository.mkdir()
    assert prepare(repository, f"--versions={versions}", "--default=1") == 0
    assert read_default(repository) == 1
    assert read_live_config("preprocess", repository).instance_group[0].count == 3


def test_preparing_again_brings_templates_up_to_date_and_keeps_versions(versions: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    assert prepare(repository, f"--versions={versions}", "--default=1") == 0
    (repository / "preprocess" / "1" / "model.py").write_text("old")
    labels = version_path(repository, 1) / "labels.txt"
    labels.write_text(labels.read_text().replace(LABELS[0], "Kept by hand"))
    assert prepare(repository, f"--versions={versions}") == 0
    assert (repository / "preprocess" / "1" / "model.py").read_text() != "old"
    assert "Kept by hand" in labels.read_text()
    assert read_default(repository) == 1


@pytest.mark.parametrize("folder", ["empty", "one.savedmodel", "01x"])
def test_a_folder_without_proper_versions_is_refused(
    tmp_path: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "versions"
    (source / folder / ("model.savedmodel" if folder != "empty" else "other")).mkdir(parents=True)
    (tmp_path / "repository").mkdir()
    assert prepare(tmp_path / "repository", f"--versions={source}") == 1
    assert "version" in capsys.readouterr().err


def test_a_setting_that_cannot_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIRDS_MAX_BATCH_SIZE", "none at all")
    assert prepare(tmp_path) == 2
    assert not list(tmp_path.iterdir())
