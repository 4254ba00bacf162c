"""Makes the wheel's Triton stub work with NumPy 2. Copied beside the stub; not imported by tools.

The stub was compiled with a pybind11 that knows only NumPy 1's layout of dtypes, and reads every item size as 0:

- Arrays that the stub makes have strides of 0 and repeat their first byte. The stub reads NumPy's functions from a
  table, once. While it does, the table has a constructor that lets NumPy compute the strides.
- Arrays that the stub is given seem to have 0 bytes. `pb_utils.Tensor` is changed to pass them by DLPack.

The stubs in NVIDIA's containers support NumPy 2 and never see this file.
"""

from __future__ import annotations

import ctypes
import importlib
from typing import Any

import c_python_backend_utils  # built into the stub
import numpy as np

_StubTensor = c_python_backend_utils.Tensor
_USED = ctypes.c_char_p(b"used_dltensor")  # the name that NumPy expects of a consumed capsule
_NEW_FROM_DESCR = 94  # PyArray_NewFromDescr's place in the table, the same in every NumPy

_Constructor = ctypes.PYFUNCTYPE(
    ctypes.c_void_p,  # the new array
    ctypes.c_void_p,  # its type
    ctypes.c_void_p,  # its dtype
    ctypes.c_int,  # number of dimensions
    ctypes.c_void_p,  # shape
    ctypes.c_void_p,  # strides: null lets NumPy lay the array out contiguously
    ctypes.c_void_p,  # data
    ctypes.c_int,
    ctypes.c_void_p,
)


def _table() -> ctypes.Array[ctypes.c_void_p]:
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    address = get_pointer(importlib.import_module("numpy._core.multiarray")._ARRAY_API, None)
    return (ctypes.c_void_p * (_NEW_FROM_DESCR + 1)).from_address(address)


_new_from_descr = _Constructor(_table()[_NEW_FROM_DESCR] or 0)


@_Constructor  # at module level: the stub keeps the address for as long as it lives
def _without_strides(kind, dtype, ndim, shape, strides, data, flags, parent):  # type: ignore[no-untyped-def]
    return _new_from_descr(kind, dtype, ndim, shape, None, data, flags, parent)


def _give_stub_constructor_without_strides() -> None:
    table = _table()
    original = table[_NEW_FROM_DESCR]
    table[_NEW_FROM_DESCR] = ctypes.cast(_without_strides, ctypes.c_void_p).value
    try:
        _StubTensor("first use", np.zeros(1, np.uint8))  # the stub reads the table now
    finally:
        table[_NEW_FROM_DESCR] = original  # no other code must use the replacement


def _tensor(name: str, array: np.ndarray) -> Any:
    """Replace the class pb_utils.Tensor; returns the stub's own tensors."""
    capsule = np.ascontiguousarray(array).__dlpack__()
    tensor = _StubTensor.from_dlpack(name, capsule)
    ctypes.pythonapi.PyCapsule_SetName(ctypes.py_object(capsule), _USED)  # the stub sets another name
    return tensor


_give_stub_constructor_without_strides()
_tensor.from_dlpack = _StubTensor.from_dlpack  # type: ignore[attr-defined]  # a class method there, used as such
c_python_backend_utils.Tensor = _tensor
