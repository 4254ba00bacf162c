"""Runs a SavedModel's signature with TensorFlow or with OpenVINO. Independent of Triton."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from placement import Device, visible_gpus
from quantization import QuantizationMisfit, is_worthwhile, quantize

log = logging.getLogger(__name__)

ENGINES = ("tensorflow", "openvino", "auto")
PRECISIONS = ("f32", "bf16", "int8", "auto")


class EngineError(Exception):
    """The engine cannot run the SavedModel; the text says why."""


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of a signature. `shape` includes the batch dimension; -1 is a size that can vary."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Engine(Protocol):
    """A loaded signature: its tensors by name, and one method that runs a whole batch."""

    name: str
    precision: str
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]: ...


def load_engine(name: str, savedmodel: Path, device: Device, precision: str = "f32") -> Engine:
    """Load `savedmodel` with the engine `tensorflow`, `openvino` or, on the CPU, the better of the two (`auto`).

    `precision` is for OpenVINO; TensorFlow always computes in float. `bf16` is bfloat16 on CPUs that have it, else f32.
    `int8` is 8 bits, for a SavedModel that includes the ranges of its values. `auto` is int8 if the SavedModel has
    ranges and the CPU has the instructions, else f32.
    Raises EngineError for an unknown engine or precision, and for a SavedModel that cannot be loaded.
    """
    if precision not in PRECISIONS:
        raise EngineError(f"precision '{precision}' is not one of {', '.join(PRECISIONS)}")
    if name == "tensorflow":
        return TensorFlowEngine(savedmodel, device)
    if name == "openvino":
        return OpenVINOEngine(savedmodel, device, precision)
    if name != "auto":
        raise EngineError(f"engine '{name}' is not one of {', '.join(ENGINES)}")
    try:
        return OpenVINOEngine(savedmodel, device, precision)
    except EngineError as error:  # it is not installed, or lacks an operation
        log.warning("%s; trying TensorFlow", error)
        return TensorFlowEngine(savedmodel, device)


class TensorFlowEngine:
    """The reference: TensorFlow itself, on a GPU or the CPU. Loads in about 3 s, most of it the import."""

    name = "tensorflow"
    precision = "f32"

    def __init__(self, savedmodel: Path, device: Device) -> None:
        # TensorFlow reads these once, when it is imported. This process sees its own GPU or none.
        os.environ["CUDA_VISIBLE_DEVICES"] = visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"), device)
        os.environ["TF_NUM_INTRAOP_THREADS"] = str(device.threads)
        os.environ["TF_NUM_INTEROP_THREADS"] = "1"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        try:
            import tensorflow as tf
        except ImportError as error:
            raise EngineError(f"TensorFlow is not installed: {error}") from error

        self._tf = tf
        gpus = tf.config.list_physical_devices("GPU")
        if device.gpu is not None and not gpus:
            log.warning("GPU %d is assigned, but this TensorFlow finds no GPU and runs on the CPU", device.gpu)
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        try:
            self._model = tf.saved_model.load(str(savedmodel))
        except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
            raise EngineError(f"TensorFlow cannot load it: {_lines(error)[0]}") from error
        self._signature = self._choose_signature()
        _, inputs = self._signature.structured_input_signature
        self.inputs = {name: self._spec(spec) for name, spec in inputs.items()}
        self.outputs = {name: self._spec(spec) for name, spec in self._signature.structured_outputs.items()}

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = self._signature(**{name: self._tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in outputs.items()}

    def _choose_signature(self) -> Any:
        signatures = self._model.signatures
        if "serving_default" in signatures:
            return signatures["serving_default"]
        if len(signatures) == 1:
            return next(iter(signatures.values()))
        raise EngineError(f"it has no signature serving_default, only {sorted(signatures) or 'none at all'}")

    @staticmethod
    def _spec(spec: Any) -> TensorSpec:
        shape = tuple(-1 if size is None else size for size in spec.shape) if spec.shape.rank is not None else ()
        return TensorSpec(np.dtype(spec.dtype.as_numpy_dtype), shape)


class OpenVINOEngine:
    """The faster engine on a CPU. It reads the SavedModel itself: TensorFlow is not imported."""

    name = "openvino"

    def __init__(self, savedmodel: Path, device: Device, precision: str = "f32") -> None:
        # Importing openvino would report it to an analytics server and write a client id into the home folder.
        # It does neither without its package openvino_telemetry, so that is hidden from it.
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
        try:
            import openvino
        except ImportError as error:
            raise EngineError(f"OpenVINO is not installed: {error}") from error

        core = openvino.Core()
        options = {
            "PERFORMANCE_HINT": "LATENCY",  # one request at a time: Triton has already made the batch
            "INFERENCE_NUM_THREADS": device.threads,
            "ENABLE_CPU_PINNING": False,  # processes that are pinned to the same cores halve each other's speed
        }
        try:
            model, self.precision = _read_model(core, savedmodel, precision)
            # For the operations that are not quantized. A CPU without bfloat16 would emulate it.
            options["INFERENCE_PRECISION_HINT"] = "bf16" if self.precision == "bf16" else "f32"
            self._request = core.compile_model(model, "CPU", options).create_infer_request()
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot load it: {_openvino_reason(error)}") from error
        except QuantizationMisfit as error:
            raise EngineError(f"OpenVINO cannot run it in int8: {error}") from error
        self.inputs = {port.get_any_name(): _port_spec(port) for port in model.inputs}
        # One tensor may be an output under several names.
        self.outputs = {name: _port_spec(port) for port in model.outputs for name in port.get_names()}

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = self._request.infer(inputs, share_inputs=True)
        return {name: outputs[name] for name in self.outputs}


def _read_model(core: Any, savedmodel: Path, precision: str) -> tuple[Any, str]:
    """Return the model and the chosen precision. Raises QuantizationMisfit if int8 was requested and is impossible."""
    model = core.read_model(savedmodel)
    if precision == "int8" or (precision == "auto" and is_worthwhile(savedmodel)):
        try:
            quantize(model, savedmodel)
            return model, "int8"
        except QuantizationMisfit as misfit:
            if precision == "int8":
                raise
            log.warning("%s; computing in float", misfit)
            model = core.read_model(savedmodel)
    return model, "bf16" if precision == "bf16" and _has_bf16(core) else "f32"


def _has_bf16(core: Any) -> bool:
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _port_spec(port: Any) -> TensorSpec:
    shape = port.get_partial_shape()
    sizes = tuple(-1 if size.is_dynamic else size.get_length() for size in shape) if shape.rank.is_static else ()
    return TensorSpec(np.dtype(port.get_element_type().to_dtype()), sizes)


def _openvino_reason(error: Exception) -> str:
    """OpenVINO names the operations that it lacks in a list of findings; its other errors end with what matters."""
    lines = _lines(error)
    findings = [line.removeprefix("-- ") for line in lines if line.startswith("-- ")]
    return "; ".join(findings) or lines[-1]


def _lines(error: Exception) -> list[str]:
    return [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
