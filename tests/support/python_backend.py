"""A stand-in for `triton_python_backend_utils`, the module that exists only inside Triton's stub."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np


class Tensor:
    """A tensor on the CPU."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        self.name, self.array = name, array

    def shape(self) -> list[int]:
        return list(self.array.shape)

    def as_numpy(self) -> np.ndarray:
        return self.array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class TritonError:
    INTERNAL, INVALID_ARG, UNAVAILABLE = "internal", "invalid argument", "unavailable"

    def __init__(self, message: str, code: str = INTERNAL) -> None:
        self.message, self.code = message, code


class Response:
    def __init__(self, tensors: list[Tensor] | None = None, error: TritonError | None = None) -> None:
        self.tensors, self.error = tensors or [], error

    @property
    def array(self) -> np.ndarray:
        """The content of its first output."""
        return self.tensors[0].array


class Request:
    """A request with one input."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        self.input = Tensor(name, array)

    def inputs(self) -> list[Tensor]:
        return [self.input]


def stub_module(logged: list[str]) -> Any:
    """The module, which adds the errors of the model to `logged`."""
    module: Any = ModuleType("triton_python_backend_utils")
    module.InferenceRequest, module.InferenceResponse, module.Tensor = Request, Response, Tensor
    module.TritonError = TritonError
    module.TritonModelException = type("TritonModelException", (Exception,), {})
    module.TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1
    module.Logger = SimpleNamespace(log_info=lambda _: None, log_error=logged.append)
    module.get_input_tensor_by_name = lambda request, name: request.input if request.input.name == name else None
    module.triton_string_to_numpy = {"TYPE_UINT8": np.uint8, "TYPE_FP32": np.float32}.__getitem__
    return module
