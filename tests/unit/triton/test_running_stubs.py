"""Which processes count as the Python backend's, by their command lines."""

from __future__ import annotations

import pytest

from tools.triton.running_stubs import Instance, instance_of

STUB = "/tmp/birds-triton-1_files/backends/python/triton_python_backend_stub"
MODELS = "/tmp/birds-triton-1_files/models"


@pytest.mark.parametrize(
    ("arguments", "instance"),
    [
        (
            [STUB, f"{MODELS}/preprocess/1/model.py", "prefix", "1048576", "preprocess_0_1"],
            ("preprocess", "1", "preprocess_0_1"),
        ),
        (
            [STUB, f"{MODELS}/classifier/12/model.savedmodel", "classifier_0_0", ""],
            ("classifier", "12", "classifier_0_0"),
        ),
        pytest.param([STUB, f"{MODELS}/classifier/2/model.savedmodel", "x", "classifier", ""], None, id="completing"),
        pytest.param([STUB, "model.py"], None, id="short path"),
        pytest.param([STUB], None, id="no model"),
        pytest.param([""], None, id="zombie"),
        pytest.param(["/bin/sh", "-c", f"exec {STUB} {MODELS}/classifier/1/model.py classifier_0_0"], None, id="shell"),
    ],
)
def test_only_stubs_with_an_instance_count(arguments: list[str], instance: tuple[str, str, str] | None) -> None:
    assert instance_of(arguments) == (Instance(*instance) if instance else None)
