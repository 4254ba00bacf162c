"""Forms: names of engine and precision, put into a copy of the repository."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tools.measure.bench.form import Form, UnknownVariant, apply_form, parse_form
from tools.models.repository import MODEL_REPOSITORY, read_config


def test_a_form_edits_the_copy_and_leaves_everything_else(tmp_path: Path) -> None:
    shutil.copytree(MODEL_REPOSITORY / "classifier", tmp_path / "classifier")
    apply_form(parse_form("tensorflow"), tmp_path)
    edited, original = read_config("classifier", tmp_path), read_config("classifier")
    assert edited.parameters["engine"].string_value == "tensorflow"
    edited.parameters["engine"].string_value = original.parameters["engine"].string_value
    assert edited == original


def test_configured_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    shutil.copytree(MODEL_REPOSITORY / "classifier", tmp_path / "classifier")
    apply_form(parse_form("configured"), tmp_path)
    written = (tmp_path / "classifier" / "config.pbtxt").read_bytes()
    assert written == (MODEL_REPOSITORY / "classifier" / "config.pbtxt").read_bytes()


def test_the_projects_own_repository_is_never_edited() -> None:
    with pytest.raises(ValueError, match="a copy"):
        apply_form(Form("tensorflow", "tensorflow"), MODEL_REPOSITORY)


def test_a_part_that_the_configuration_has_no_parameter_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    config = read_config("classifier")
    config.parameters.pop("precision", None)
    monkeypatch.setattr("tools.measure.bench.form.read_config", lambda *_: config)
    assert parse_form("openvino").parameters == {"engine": "openvino"}
    with pytest.raises(UnknownVariant, match=r"^openvino/f32: .* no parameter precision$"):
        parse_form("openvino/f32")
    config.parameters["precision"].string_value = "f32"
    assert parse_form("openvino/bf16").parameters == {"engine": "openvino", "precision": "bf16"}
    assert parse_form("openvino").effective("precision", "") == "f32"
