"""Engine variants: names of engine and precision, put into a copy of the repository."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tools.errors import UsageError
from tools.measure.bench.engine_variant import EngineVariant, apply_variant, parse_variant
from tools.models.repository import MODEL_REPOSITORY, read_config


def test_variant_edits_only_the_copy(tmp_path: Path) -> None:
    shutil.copytree(MODEL_REPOSITORY / "classifier", tmp_path / "classifier")
    apply_variant(parse_variant("tensorflow"), tmp_path)
    edited, original = read_config("classifier", tmp_path), read_config("classifier")
    assert edited.parameters["engine"].string_value == "tensorflow"
    edited.parameters["engine"].string_value = original.parameters["engine"].string_value
    assert edited == original


def test_configured_changes_nothing(tmp_path: Path) -> None:
    shutil.copytree(MODEL_REPOSITORY / "classifier", tmp_path / "classifier")
    apply_variant(parse_variant("configured"), tmp_path)
    written = (tmp_path / "classifier" / "config.pbtxt").read_bytes()
    assert written == (MODEL_REPOSITORY / "classifier" / "config.pbtxt").read_bytes()


def test_own_repository_is_never_edited() -> None:
    with pytest.raises(ValueError, match="a copy"):
        apply_variant(EngineVariant("tensorflow", {"engine": "tensorflow"}), MODEL_REPOSITORY)


def test_refuses_a_parameter_that_is_not_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    config = read_config("classifier")
    config.parameters.pop("precision", None)
    monkeypatch.setattr("tools.measure.bench.engine_variant.read_config", lambda *_: config)
    assert parse_variant("openvino").parameters == {"engine": "openvino"}
    with pytest.raises(UsageError, match=r"^openvino/f32: .* no parameter precision$"):
        parse_variant("openvino/f32")
    config.parameters["precision"].string_value = "f32"
    assert parse_variant("openvino/bf16").parameters == {"engine": "openvino", "precision": "bf16"}
    assert parse_variant("openvino").effective("precision") == "f32"
