"""Checkpoints are data: nothing in them is called, and no tensor reaches outside its storage."""

from __future__ import annotations

import collections
import io
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.models.weights.torch_checkpoint import read_checkpoint

VALUES = np.arange(6, dtype=np.float32)


class Malicious:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("echo must never run",)


class _Global:
    """Pickled as the name of something in PyTorch."""

    def __init__(self, name: str) -> None:
        self.name = name


_PythonPickler: Any = pickle._Pickler  # unlike the one in C, its save can be extended


class _Tensor:
    def __init__(self, *view: object) -> None:
        self.view = view


class _Pickler(_PythonPickler):  # type: ignore[misc]
    def persistent_id(self, value: Any) -> Any:
        return ("storage", _Global("torch\nFloatStorage"), "0", "cpu", len(VALUES)) if value == "STORAGE" else None

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, _Global):
            self.write(b"c" + value.name.encode() + b"\n")
        elif isinstance(value, _Tensor):
            self.save(_Global("torch._utils\n_rebuild_tensor_v2"))
            self.save(("STORAGE", *value.view))
            self.write(pickle.REDUCE)
        else:
            super().save(value, save_persistent_id)


def pickled(value: object) -> bytes:
    file = io.BytesIO()
    _Pickler(file, protocol=2).dump(value)
    return file.getvalue()


def checkpoint(path: Path, state: object, keys: object = ("0",), count: int = len(VALUES)) -> Path:
    keys = list(keys) if isinstance(keys, tuple) else keys
    parts = [pickled(1), pickled(1001), pickled({}), pickled(state), pickled(keys)]
    path.write_bytes(b"".join(parts) + struct.pack("<Q", count) + VALUES.tobytes())
    return path


def state(*view: object) -> object:
    return collections.OrderedDict(weight=_Tensor(*view))


def test_strided_views_are_read(tmp_path: Path) -> None:
    arrays = read_checkpoint(checkpoint(tmp_path / "c.pth", state(0, (3, 2), (1, 3))))
    assert arrays["weight"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert read_checkpoint(checkpoint(tmp_path / "c.pth", state(2, (), ())))["weight"] == 2
    assert read_checkpoint(checkpoint(tmp_path / "c.pth", state(0, (0, 4), (4, 1))))["weight"].shape == (0, 4)


@pytest.mark.parametrize(
    "view",
    [
        (0, (7,), (1,)),
        (1, (6,), (1,)),
        (0, (2, 3), (100, 1)),
        (0, (2,), (1 << 40,)),
        (1 << 40, (1,), (1,)),
        (-1, (1,), (1,)),
        (5, (2,), (-1,)),
        (0, (-2,), (1,)),
        (0, (1 << 40,), (0,)),
        (0, (1 << 62, 1 << 62), (1, 1)),
        (0, (1,), (1, 1)),
        (0, (1,) * 40, (1,) * 40),
        (0, ("2",), (1,)),
        (0, (2.0,), (1,)),
        (0, (True,), (1,)),
        (0, None, None),
        ("0", (1,), (1,)),
    ],
    ids=str,
)
def test_a_view_outside_the_storage_is_refused(tmp_path: Path, view: tuple[object, ...]) -> None:
    with pytest.raises(pickle.UnpicklingError, match="tensor weight"):
        read_checkpoint(checkpoint(tmp_path / "c.pth", state(*view)))


def test_a_storage_longer_than_the_file_is_refused(tmp_path: Path) -> None:
    for count in (7, 1 << 40, (1 << 64) - 1):
        with pytest.raises(pickle.UnpicklingError, match="cut off"):
            read_checkpoint(checkpoint(tmp_path / "c.pth", state(0, (1,), (1,)), count=count))


@pytest.mark.parametrize(
    ("content", "keys"), [([1], ("0",)), ({"weight": 1}, ("0",)), ({}, ("1",)), ({}, {"0": 1}), ({1: 2}, ())], ids=str
)
def test_another_structure_is_refused(tmp_path: Path, content: object, keys: object) -> None:
    with pytest.raises(pickle.UnpicklingError):
        read_checkpoint(checkpoint(tmp_path / "c.pth", content, keys))


def test_a_checkpoint_that_calls_something_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    parts: tuple[object, ...] = (1, 2, {}, Malicious())
    path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in parts))
    with pytest.raises(pickle.UnpicklingError, match=r"system, which is not allowed"):
        read_checkpoint(path)


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    content = checkpoint(tmp_path / "c.pth", state(0, (6,), (1,))).read_bytes()
    for length in range(len(content)):
        (tmp_path / "c.pth").write_bytes(content[:length])
        with pytest.raises(pickle.UnpicklingError):
            read_checkpoint(tmp_path / "c.pth")
