"""The Triton backend `tensorflow`: serves the SavedModel of a version folder, a whole batch of requests in one call."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from savedmodel_engines import Device, EngineError, TensorSpec, load_engine

Config = dict[str, Any]  # a model configuration, or a part of one, as Triton's JSON has it

_WARM_UP_SIZE = 224  # stands in for a height or width that neither the signature nor the config fixes


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        """Load, check and warm up the model. Raises TritonModelException in one line that says what does not fit."""
        config = json.loads(args["model_config"])
        self.batched = config["max_batch_size"] > 0
        self.output_names = [output["name"] for output in config["output"]]
        version = Path(args["model_repository"], args["model_version"])
        savedmodel = version / (config.get("default_model_filename") or "model.savedmodel")
        try:
            self.engine = load_engine(_parameter(config, "engine", "auto"), savedmodel, _device(args, config))
            self._check(config)
        except EngineError as error:
            raise pb_utils.TritonModelException(f"{config['name']} version {version.name}: {error}") from error
        self._warm_up(config)
        pb_utils.Logger.log_info(
            f"{args['model_instance_name']}: {savedmodel} runs on {self.engine.name}, "
            f"{args['model_instance_kind']} {args['model_instance_device_id']}"
        )

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        responses: list[pb_utils.InferenceResponse | None] = [None] * len(requests)
        for group in self._runnable_together(requests):
            for index, response in zip(group, self._run([requests[index] for index in group]), strict=True):
                responses[index] = response
        return responses

    def _runnable_together(self, requests: list[pb_utils.InferenceRequest]) -> list[list[int]]:
        """Indices of requests whose inputs can be stacked: all of them, unless sizes vary from image to image."""
        groups: dict[object, list[int]] = {}
        for index, request in enumerate(requests):
            shapes = tuple(tuple(tensor.shape()) for tensor in request.inputs())
            key = tuple(shape[1:] for shape in shapes) if self.batched else index
            groups.setdefault(key, []).append(index)
        return list(groups.values())

    def _run(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        inputs = {
            name: [np.from_dlpack(pb_utils.get_input_tensor_by_name(request, name)) for request in requests]
            for name in self.engine.inputs
        }
        stacked = {name: parts[0] if len(parts) == 1 else np.concatenate(parts) for name, parts in inputs.items()}
        try:
            outputs = self.engine.run(stacked)
        except Exception as error:  # whatever an engine raises fails these requests, not the process
            pb_utils.Logger.log_error(f"{self.engine.name} failed on a batch: {error!r}")
            failure = pb_utils.TritonError("inference_failed: the engine failed on this batch")
            return [pb_utils.InferenceResponse(error=failure) for _ in requests]
        if not self.batched:
            return [_response({name: outputs[name] for name in self.output_names})]
        sizes = [len(part) for part in next(iter(inputs.values()))]
        ends = np.cumsum(sizes)
        return [
            _response({name: outputs[name][end - size : end] for name in self.output_names})
            for size, end in zip(sizes, ends, strict=True)
        ]

    def _check(self, config: Config) -> None:
        """Raise EngineError unless the signature has what the config promises."""
        for kind, declared, actual in (
            ("input", config["input"], self.engine.inputs),
            ("output", config["output"], self.engine.outputs),
        ):
            found = ", ".join(f"'{name}' {spec.dtype} {list(spec.shape)}" for name, spec in actual.items())
            for tensor in declared:
                spec = actual.get(tensor["name"])
                expected = self._expected(tensor)
                if spec is None or spec.dtype != expected.dtype or not _shapes_agree(spec.shape, expected.shape):
                    raise EngineError(
                        f"config.pbtxt has the {kind} '{tensor['name']}' {expected.dtype} {list(expected.shape)}, "
                        f"the SavedModel's signature has {found}"
                    )
        missing = set(self.engine.inputs) - {tensor["name"] for tensor in config["input"]}
        if missing:
            raise EngineError(f"the SavedModel's signature wants inputs that config.pbtxt lacks: {sorted(missing)}")

    def _expected(self, tensor: Config) -> TensorSpec:
        dtype = np.dtype(pb_utils.triton_string_to_numpy(tensor["data_type"]))
        batch = (-1,) if self.batched else ()
        return TensorSpec(dtype, batch + tuple(int(size) for size in tensor["dims"]))

    def _warm_up(self, config: Config) -> None:
        """Run every batch size once: engines compile and allocate on the first sight of a shape."""
        for batch in range(1, config["max_batch_size"] + 1) if self.batched else [1]:
            self.engine.run({t["name"]: self._blank(t, batch) for t in config["input"]})

    def _blank(self, tensor: Config, batch: int) -> np.ndarray:
        actual, expected = self.engine.inputs[tensor["name"]], self._expected(tensor)
        shape = (
            [max(pair) for pair in zip(actual.shape, expected.shape, strict=True)] if actual.shape else expected.shape
        )
        sizes = [size if size > 0 else _WARM_UP_SIZE for size in shape]
        if self.batched:
            sizes[0] = batch
        return np.zeros(sizes, actual.dtype)


def _device(args: dict[str, str], config: Config) -> Device:
    cores = len(os.sched_getaffinity(0))
    if args["model_instance_kind"] == "GPU":
        return Device(threads=cores, gpu=int(args["model_instance_device_id"]))
    instances = sum(group["count"] for group in config["instance_group"])
    return Device(threads=max(1, cores // instances))


def _parameter(config: Config, name: str, default: str) -> str:
    return str(config["parameters"].get(name, {"string_value": default})["string_value"])


def _shapes_agree(actual: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """A size that varies on either side agrees with any; a signature without any shape agrees with all."""
    if not actual:
        return True
    return len(actual) == len(expected) and all(
        -1 in pair or pair[0] == pair[1] for pair in zip(actual, expected, strict=True)
    )


def _response(outputs: dict[str, np.ndarray]) -> pb_utils.InferenceResponse:
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, value) for name, value in outputs.items()])
