"""What the backend `tensorflow` refuses to load, it refuses in one line that says what does not fit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.tiny_model import save_tiny_model
from tools.models.repository import MODEL_REPOSITORY
from tools.serve.ports import free_triton_ports
from tools.serve.triton_layout import TritonError
from tools.serve.triton_process import TritonServer


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
        pytest.param({}, ('{ string_value: "auto" }', '{ string_value: "torch" }'), "'torch' is none of", id="unknown"),
    ],
)
def test_a_signature_that_does_not_fit(
    tmp_path: Path, names: dict[str, str], edit: tuple[str, str], expected: str
) -> None:
    reason = refusal(tmp_path, edit, **names)
    assert "classifier version 1: " in reason
    assert expected in reason
