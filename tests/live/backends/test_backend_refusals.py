"""The backend `tensorflow` refuses what it cannot serve in one line that says why, and damaged versions above all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from version_manifest import write_manifest

from tests.support.model_repository import copy_templates
from tests.support.tiny_model import save_tiny_model
from tools.models.repository import MODEL_REPOSITORY, version_path
from tools.serve.ports import free_triton_ports
from tools.serve.triton_layout import TritonError
from tools.serve.triton_process import TritonServer
from tools.triton.control import TritonControl


def refusal(tmp_path: Path, edit: tuple[str, str] = ("", ""), **names: str) -> str:
    """Why Triton ends on a repository that holds only a tiny classifier, its configuration edited."""
    model = tmp_path / "repository" / "classifier"
    save_tiny_model(model / "1" / "model.savedmodel", **names)
    shutil.copy(MODEL_REPOSITORY / "classifier" / "config.pbtxt", model)
    (model / "labels.txt").write_text("a\nb\nc\nd\n")
    config = (model / "config.pbtxt").read_text()
    assert edit[0] in config
    (model / "config.pbtxt").write_text(config.replace(*edit))
    with (
        TritonServer(free_triton_ports(), tmp_path / "log", tmp_path / "repository") as server,
        pytest.raises(TritonError) as refused,
    ):
        server.wait_until_ready()
    reason = str(refused.value)
    assert "\n" not in reason
    return reason


@pytest.mark.parametrize(
    ("names", "edit", "expected"),
    [
        pytest.param(
            {"input_name": "picture"},
            ("", ""),
            "config.pbtxt has the input 'pixels' uint8 [-1, -1, -1, 3], the SavedModel's signature has 'picture' uint8",
            id="another input name",
        ),
        pytest.param(
            {"output_name": "odds"},
            ("", ""),
            "config.pbtxt has the output 'probabilities' float32 [-1, -1], the SavedModel's signature has 'odds'",
            id="another output name",
        ),
        pytest.param(
            {},
            ("TYPE_UINT8", "TYPE_FP32"),
            "config.pbtxt has the input 'pixels' float32 [-1, -1, -1, 3], the SavedModel's signature has 'pixels'",
            id="another type",
        ),
        pytest.param(
            {},
            ("dims: [ -1, -1, 3 ]", "dims: [ -1, -1, 4 ]"),
            "config.pbtxt has the input 'pixels' uint8 [-1, -1, -1, 4], the SavedModel's signature has 'pixels' uint8",
            id="another shape",
        ),
        pytest.param({}, ('{ string_value: "auto" }', '{ string_value: "torch" }'), "'torch' is not one", id="unknown"),
    ],
)
def test_an_unfit_signature_is_refused(
    tmp_path: Path, names: dict[str, str], edit: tuple[str, str], expected: str
) -> None:
    reason = refusal(tmp_path, edit, **names)
    assert "classifier version 1: " in reason
    assert expected in reason


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A repository whose version 1 lost 64 bytes of its graph after its manifest was written."""
    repository = tmp_path / "repository"
    copy_templates(repository)
    version = version_path(repository)
    save_tiny_model(version / "model.savedmodel")
    (version / "labels.txt").write_text("a\nb\nc\nd\n")
    write_manifest(version)
    graph = version / "model.savedmodel" / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:-64] + bytes(64))
    return repository


def test_a_damaged_version_is_refused_by_the_backend(
    tmp_path: Path, damaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container there is no preparation that could notice it first."""
    monkeypatch.setattr("tools.serve.triton_process.prepare", lambda *_, **__: None)
    server = TritonServer(free_triton_ports(), tmp_path / "log", damaged)
    with server, pytest.raises(TritonError):
        server.wait_until_ready()
    assert "classifier version 1: model.savedmodel/saved_model.pb differs from manifest.json" in server.log.read_text()


def test_a_damaged_version_does_not_stop_the_others(tmp_path: Path, damaged: Path) -> None:
    good = version_path(damaged, 2)
    save_tiny_model(good / "model.savedmodel")
    (good / "labels.txt").write_text("a\nb\nc\nd\n")
    (damaged / "classifier" / "3.bak").mkdir()  # which Triton would take for version 3
    with TritonServer(free_triton_ports(), tmp_path / "log", damaged) as server:
        server.wait_until_ready()
        control = TritonControl(server.http_url)
        assert control.ready_versions("classifier") == {2}
        control.probe("birds")
