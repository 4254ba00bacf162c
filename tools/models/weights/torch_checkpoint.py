"""Reads tensors from a PyTorch checkpoint in the pre-1.6 format, without PyTorch and without running its code."""

from __future__ import annotations

import collections
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

Sizes = tuple[int, ...]

_STORAGE_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class _Storage:
    """A flat run of elements whose bytes follow the pickled part of the file."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.values = np.empty(0, dtype)


def _rebuild_tensor(storage: _Storage, offset: int, size: Sizes, stride: Sizes, *_: Any) -> tuple[Any, ...]:
    return storage, offset, size, stride


class _RestrictedUnpickler(pickle.Unpickler):
    """Finds three harmless names; everything else a pickle may call is refused."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        raise pickle.UnpicklingError(f"the checkpoint asks for {module}.{name}, which is not allowed")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, *_ = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"unknown persistent id {kind!r}")
        return self.storages.setdefault(key, _Storage(dtype))


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """Return the state dictionary of `path`: parameter name to array.

    Raises pickle.UnpicklingError for anything but plain float32 and int64 tensors.
    """
    with path.open("rb") as file:
        for _ in range(3):  # magic number, protocol version, machine description
            _RestrictedUnpickler(file).load()
        state_reader = _RestrictedUnpickler(file)
        state = state_reader.load()
        for key in _RestrictedUnpickler(file).load():
            storage = state_reader.storages[key]
            count = int.from_bytes(file.read(8), "little")
            storage.values = np.frombuffer(file.read(count * storage.dtype.itemsize), storage.dtype)
    return {name: _array(*tensor) for name, tensor in state.items()}


def _array(storage: _Storage, offset: int, size: Sizes, stride: Sizes) -> np.ndarray:
    """Tensors may be strided views of their storage (this checkpoint's are): materialize them."""
    steps = [step * storage.dtype.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage.values[offset:], size, steps, writeable=False).copy()
