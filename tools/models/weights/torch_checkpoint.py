"""Reads tensors from a PyTorch checkpoint in the format before 1.6, without PyTorch and without running its code.

Sizes, strides and offsets come from the file. They are checked before numpy uses them: it would read any memory.
"""

from __future__ import annotations

import collections
import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_MAX_DIMENSIONS = 8
_STORAGE_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class _Storage:
    """A flat run of elements whose bytes follow the pickled part of the file."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.values = np.empty(0, dtype)


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage, counted in elements. Nothing about it has been checked yet."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, offset, size, stride)


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
        if not isinstance(pid, tuple) or len(pid) < 3 or pid[0] != "storage" or not isinstance(pid[1], np.dtype):
            raise pickle.UnpicklingError("the checkpoint has an unknown persistent id")
        _, dtype, key, *_ = pid
        if not isinstance(key, str):
            raise pickle.UnpicklingError("the checkpoint has a storage without a name")
        return self.storages.setdefault(key, _Storage(dtype))


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """Return the state dictionary of `path`: parameter name to array.

    Raises pickle.UnpicklingError for anything but plain float32 and int64 tensors, and for a damaged file.
    """
    try:
        with path.open("rb") as file:
            state = _read_state(file, path.stat().st_size)
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # pickle documents that damaged data can make it raise almost anything
        raise pickle.UnpicklingError(f"the checkpoint is damaged: {type(error).__name__}: {error}") from error
    return {name: _array(name, tensor) for name, tensor in state.items()}


def _read_state(file: BinaryIO, file_bytes: int) -> dict[str, Any]:
    """The state dictionary, with the storages of its tensors filled."""
    for _ in range(3):  # magic number, protocol version, machine description
        _RestrictedUnpickler(file).load()
    reader = _RestrictedUnpickler(file)
    state = reader.load()
    keys = _RestrictedUnpickler(file).load()
    if not isinstance(state, dict) or not isinstance(keys, list):
        raise pickle.UnpicklingError("the checkpoint does not hold a state dictionary")
    for key in keys:
        if not isinstance(key, str) or key not in reader.storages:
            raise pickle.UnpicklingError("the checkpoint holds a storage that no tensor uses")
        storage = reader.storages[key]
        count = int.from_bytes(file.read(8), "little")
        if count * storage.dtype.itemsize > file_bytes - file.tell():
            raise pickle.UnpicklingError(f"the checkpoint is cut off: storage {key} has {count} elements")
        storage.values = np.frombuffer(file.read(count * storage.dtype.itemsize), storage.dtype)
    return state


def _array(name: Any, tensor: Any) -> np.ndarray:
    """Copy a tensor out of its storage. Tensors may be strided views (this checkpoint's are).

    Raises pickle.UnpicklingError unless every element lies inside the storage.
    """
    if not isinstance(name, str) or not isinstance(tensor, _Tensor) or not isinstance(tensor.storage, _Storage):
        raise pickle.UnpicklingError("the checkpoint's state dictionary holds something that is not a tensor")
    values, offset, size, stride = tensor.storage.values, tensor.offset, tensor.size, tensor.stride
    if not _are_counts((offset,)) or not _are_counts(size) or not _are_counts(stride) or len(size) != len(stride):
        raise pickle.UnpicklingError(f"tensor {name} has a size, stride or offset that is not a whole number from 0")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    elements = math.prod(size)
    # A stride of 0 repeats elements: without the second bound, 100 bytes could become terabytes.
    if elements and (last >= len(values) or elements > len(values)):
        raise pickle.UnpicklingError(f"tensor {name} lies outside its storage of {len(values)} elements")
    if not elements:
        return np.empty(size, tensor.storage.dtype)
    steps = [step * tensor.storage.dtype.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(values[offset:], size, steps, writeable=False).copy()


def _are_counts(numbers: Any) -> bool:
    """Whether these are whole numbers from 0, few and small enough to compute with."""
    return (
        isinstance(numbers, tuple)
        and len(numbers) <= _MAX_DIMENSIONS
        and all(type(number) is int and 0 <= number < 1 << 48 for number in numbers)
    )
