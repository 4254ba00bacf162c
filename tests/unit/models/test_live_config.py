"""The configurations that Triton is started with: derived from those in git, from settings and from the versions."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from version_manifest import write_manifest

from frontend.inference.contract import ensemble_model_version
from tests.support.model_repository import copy_templates, install_classifier
from tests.support.tiny_model import LABELS
from tools.models.live_config import write_all
from tools.models.repository import (
    About,
    labels_path,
    read_config,
    read_live_config,
    savedmodel_path,
    version_path,
    write_about,
)
from tools.triton.settings import TritonSettings


@pytest.fixture
def repository(tiny_savedmodel: Path, tmp_path: Path) -> Path:
    repository = tmp_path / "models"
    copy_templates(repository)
    install_classifier(repository, tiny_savedmodel, LABELS)
    return repository


def test_without_settings_the_files_in_git_hold(repository: Path) -> None:
    write_all(repository, TritonSettings())
    assert read_live_config("classifier", repository) == read_config("classifier", repository)
    assert read_live_config("preprocess", repository) == read_config("preprocess", repository)


def test_settings_change_instances_batches_device_and_engine(repository: Path) -> None:
    settings = TritonSettings(
        max_batch_size=6, classifier_instances=3, preprocess_instances=2, device="gpu", engine="tensorflow"
    )
    write_all(repository, settings)
    classifier = read_live_config("classifier", repository)
    assert [(group.count, group.kind == group.KIND_GPU) for group in classifier.instance_group] == [(3, True)]
    assert classifier.parameters["engine"].string_value == "tensorflow"
    assert [sample.batch_size for sample in classifier.model_warmup] == [1, 2, 4, 6]
    assert read_live_config("preprocess", repository).instance_group[0].count == 2
    for model in ("birds", "birds_v1", "preprocess", "classifier"):
        assert read_live_config(model, repository).max_batch_size == 6


def test_preprocess_has_the_limits_of_the_frontend(repository: Path) -> None:
    """Raised for the frontend alone, they were silently capped at 50 megapixels and 20 MB."""
    write_all(repository, TritonSettings(max_pixels=200_000_000, download_max_bytes=60_000_000, decode_seconds=8))
    parameters = read_live_config("preprocess", repository).parameters
    limits = {name: float(parameters[name].string_value) for name in ("max_pixels", "max_bytes", "decode_seconds")}
    assert limits == {"max_pixels": 200_000_000, "max_bytes": 60_000_000, "decode_seconds": 8}


def test_warm_up_never_exceeds_the_batch_size(repository: Path) -> None:
    write_all(repository, TritonSettings(max_batch_size=2))
    for model in ("preprocess", "classifier"):
        config = read_live_config(model, repository)
        assert max(sample.batch_size for sample in config.model_warmup) == 2


def test_a_version_of_another_size_gets_pixels_of_its_own(repository: Path) -> None:
    write_about(savedmodel_path(repository), About("mine", 299, 300, "openvino", "2026-01-01T00:00:00+00:00"))
    write_all(repository, TritonSettings())
    assert [output.name for output in read_live_config("preprocess", repository).output] == ["PIXELS", "PIXELS_299x300"]
    step, *_ = read_live_config("birds", repository).ensemble_scheduling.step
    assert dict(step.output_map) == {"PIXELS_299x300": "pixels"}


def test_unchanged_configurations_are_not_written(repository: Path) -> None:
    """Triton reloads what looks newer."""
    write_all(repository, TritonSettings())
    before = {path: path.stat().st_mtime_ns for path in repository.rglob("*.pbtxt")}
    write_all(repository, TritonSettings())
    assert {path: path.stat().st_mtime_ns for path in repository.rglob("*.pbtxt")} == before


def ensemble_model_versions(repository: Path) -> list[str]:
    return [path.name for path in (repository / "birds_v1").iterdir() if path.is_dir()]


def test_fingerprint_is_the_ensembles_model_version(repository: Path) -> None:
    write_manifest(version_path(repository))
    write_all(repository, TritonSettings())
    fingerprint = read_live_config("birds", repository).parameters["fingerprint.1"].string_value
    assert ensemble_model_versions(repository) == [str(ensemble_model_version(fingerprint))]


def change_weights(repository: Path) -> None:
    graph = savedmodel_path(repository) / "variables" / "variables.index"
    content = bytearray(graph.read_bytes())
    content[-1] ^= 1
    before = graph.stat()
    graph.write_bytes(content)
    os.utime(graph, ns=(before.st_atime_ns, before.st_mtime_ns))
    write_manifest(version_path(repository))


def change_labels(repository: Path) -> None:
    labels_path(repository).write_text("\n".join([*LABELS[1:], LABELS[0]]) + "\n", "utf-8")
    write_manifest(version_path(repository))


def change_decoding(repository: Path) -> None:
    (repository / "preprocess" / "1" / "bird_pixels.py").write_text("# another way of decoding\n")


def change_engine(repository: Path) -> None:
    write_all(repository, TritonSettings(engine="tensorflow"))


@pytest.mark.parametrize("change", [change_weights, change_labels, change_decoding, change_engine])
def test_number_with_other_answers_has_another_fingerprint(repository: Path, change: Callable[[Path], None]) -> None:
    """The modification time is not enough: an archive or `rsync -t` keeps it."""
    write_manifest(version_path(repository))
    write_all(repository, TritonSettings())
    before = ensemble_model_versions(repository)
    change(repository)
    if change is not change_engine:
        write_all(repository, TritonSettings())
    assert len(ensemble_model_versions(repository)) == 1
    assert ensemble_model_versions(repository) != before
