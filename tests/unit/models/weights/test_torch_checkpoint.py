"""Checkpoints are data: nothing in them is ever called."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from tools.models.weights.torch_checkpoint import read_checkpoint


class Malicious:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("echo must never run",)


def test_a_checkpoint_that_calls_something_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    parts: tuple[object, ...] = (1, 2, {}, Malicious())
    path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in parts))
    with pytest.raises(pickle.UnpicklingError, match=r"system, which is not allowed"):
        read_checkpoint(path)
