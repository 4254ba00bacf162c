"""The Triton backend `tensorflow`: serves the SavedModel of a version folder, a batch of requests in one call."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from placement import device_of, engine_for
from savedmodel_engines import Engine, EngineError, TensorSpec, load_engine
from version_manifest import VersionDamaged, check_manifest

Config = dict[str, Any]  # a model configuration or a part of it, from Triton's JSON

_ABOUT = Path("assets.extra", "birds.json")  # what the build recorded about the SavedModel


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config: pb_utils.ModelConfig) -> pb_utils.ModelConfig:
        """Give this version the labels of its own folder.

        Triton has one configuration for all versions of a model. It lets each version complete that configuration
        before it reads `label_filename`, which is the only moment at which versions can differ.
        """
        version = Path(pb_utils.get_model_dir())
        if (version / "labels.txt").is_file():
            for output in config.as_dict()["output"]:
                output["label_filename"] = f"{version.name}/labels.txt"
        return config

    def initialize(self, args: dict[str, str]) -> None:
        """Check the files, load the model and check it. Raises TritonModelException with one line that says why."""
        config = json.loads(args["model_config"])
        self.batched = config["max_batch_size"] > 0
        self.output_names = [output["name"] for output in config["output"]]
        version = Path(args["model_repository"], args["model_version"])
        savedmodel = version / (config.get("default_model_filename") or "model.savedmodel")
        try:
            manifest = check_manifest(version)
            self.engine = _load(savedmodel, args, config)
            self._check(config)
            if manifest:
                self._check_labels(manifest.labels)
        except (EngineError, VersionDamaged) as error:
            raise pb_utils.TritonModelException(f"{config['name']} version {version.name}: {error}") from error
        pb_utils.Logger.log_info(
            f"{args['model_instance_name']}: {savedmodel} runs on {self.engine.name} in {self.engine.precision}, "
            f"{args['model_instance_kind']} {args['model_instance_device_id']}"
        )

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Answer each request with its rows of every output, or with an error of its own."""
        responses: list[pb_utils.InferenceResponse | None] = [None] * len(requests)
        valid = []
        for index, request in enumerate(requests):
            if (mistake := self._mistake_in(request)) is None:
                valid.append(index)
            else:
                error = pb_utils.TritonError(mistake, pb_utils.TritonError.INVALID_ARG)
                responses[index] = pb_utils.InferenceResponse(error=error)
        for group in self._same_shapes(requests, valid):
            for index, response in zip(group, self._run([requests[index] for index in group]), strict=True):
                responses[index] = response
        return responses

    def _mistake_in(self, request: pb_utils.InferenceRequest) -> str | None:
        """Return what is wrong with the shapes of a request, or None."""
        for name, spec in self.engine.inputs.items():
            shape = tuple(pb_utils.get_input_tensor_by_name(request, name).shape())
            if not _shapes_agree(spec.shape, shape) and not _is_one_pixel(shape):
                return f"wrong_shape: '{name}' is {list(shape)}, this version takes {list(spec.shape)}"
        return None

    def _same_shapes(self, requests: list[pb_utils.InferenceRequest], indices: list[int]) -> list[list[int]]:
        """Group `indices` by requests whose inputs can be stacked: one group, unless the image sizes differ."""
        groups: dict[object, list[int]] = {}
        for index in indices:
            shapes = tuple(tuple(tensor.shape()) for tensor in requests[index].inputs())
            key = tuple(shape[1:] for shape in shapes) if self.batched else index
            groups.setdefault(key, []).append(index)
        return list(groups.values())

    def _run(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        inputs = {
            name: [np.from_dlpack(pb_utils.get_input_tensor_by_name(request, name)) for request in requests]
            for name in self.engine.inputs
        }
        stacked = {name: self._stack(name, parts) for name, parts in inputs.items()}
        try:
            outputs = self.engine.run(stacked)
        except Exception as error:  # only these requests fail, not the process
            pb_utils.Logger.log_error(f"{self.engine.name} failed on a batch: {error!r}")
            failure = pb_utils.TritonError("inference_failed: the engine failed on this batch")
            return [pb_utils.InferenceResponse(error=failure) for _ in requests]
        if not self.batched:
            return [_response({name: outputs[name] for name in self.output_names})]
        sizes = [len(part) for part in next(iter(inputs.values()))]
        if any(len(outputs[name]) != sum(sizes) for name in self.output_names):
            failure = pb_utils.TritonError("inference_failed: the model does not answer with one row for each image")
            return [pb_utils.InferenceResponse(error=failure) for _ in requests]
        ends = np.cumsum(sizes)
        return [
            _response({name: outputs[name][end - size : end] for name in self.output_names})
            for size, end in zip(sizes, ends, strict=True)
        ]

    def _check(self, config: Config) -> None:
        """Raise EngineError unless the signature has the tensors that the configuration declares."""
        for kind, declared, actual in (
            ("input", config["input"], self.engine.inputs),
            ("output", config["output"], self.engine.outputs),
        ):
            found = ", ".join(f"'{name}' {spec.dtype} {list(spec.shape)}" for name, spec in actual.items())
            for tensor in declared:
                spec = actual.get(tensor["name"])
                expected = self._expected_spec(tensor)
                if spec is None or spec.dtype != expected.dtype or not _shapes_agree(spec.shape, expected.shape):
                    raise EngineError(
                        f"config.pbtxt has the {kind} '{tensor['name']}' {expected.dtype} {list(expected.shape)}, "
                        f"the SavedModel's signature has {found}"
                    )
        if any(spec.dtype == np.object_ for spec in (*self.engine.inputs.values(), *self.engine.outputs.values())):
            raise EngineError("the SavedModel's signature has text tensors, which this backend does not support")
        missing = set(self.engine.inputs) - {tensor["name"] for tensor in config["input"]}
        if missing:
            raise EngineError(f"the SavedModel's signature needs inputs that config.pbtxt lacks: {sorted(missing)}")

    def _check_labels(self, labels: int) -> None:
        """Raise EngineError if an output has a fixed width that is not the number of labels."""
        for name in self.output_names:
            width = self.engine.outputs[name].shape[-1] if self.engine.outputs[name].shape else -1
            if width not in (-1, labels):
                raise EngineError(f"the output '{name}' has {width} values, and there are {labels} labels")

    def _expected_spec(self, tensor: Config) -> TensorSpec:
        dtype = np.dtype(pb_utils.triton_string_to_numpy(tensor["data_type"]))
        batch = (-1,) if self.batched else ()
        return TensorSpec(dtype, batch + tuple(int(size) for size in tensor["dims"]))

    def _stack(self, name: str, parts: list[np.ndarray]) -> np.ndarray:
        """Stack one batch. A single pixel stands for an image of that colour, in the size that this version takes."""
        stacked = parts[0] if len(parts) == 1 else np.concatenate(parts)
        wanted = self.engine.inputs[name].shape
        if not _is_one_pixel(stacked.shape) or len(wanted) != stacked.ndim:
            return stacked
        shape = [given if size == -1 else size for given, size in zip(stacked.shape, wanted, strict=True)]
        return np.ascontiguousarray(np.broadcast_to(stacked, [len(stacked), *shape[1:]]))


def _load(savedmodel: Path, args: dict[str, str], config: Config) -> Engine:
    instances = sum(group["count"] for group in config["instance_group"])
    kind, device_id = args["model_instance_kind"], args["model_instance_device_id"]
    # The name is CORES_VARIABLE in frontend/limits/usable_cores.py, which Triton's processes cannot import.
    cores = int(os.environ.get("BIRDS_USABLE_CORES") or len(os.sched_getaffinity(0)))
    device = device_of(kind, device_id, instances, cores)
    engine = engine_for(_parameter(config, "engine", "auto"), device, _proven_engine(savedmodel))
    return load_engine(engine, savedmodel, device, _parameter(config, "precision", "auto"))


def _parameter(config: Config, name: str, default: str) -> str:
    return str(config["parameters"].get(name, {"string_value": default})["string_value"])


def _proven_engine(savedmodel: Path) -> str | None:
    try:
        return str(json.loads((savedmodel / _ABOUT).read_text(encoding="utf-8"))["engine"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the SavedModel was not built by the tools


def _is_one_pixel(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[1:3] == (1, 1)


def _shapes_agree(actual: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """A size of -1 on either side agrees with any size; a signature without a shape agrees with any shape."""
    if not actual:
        return True
    return len(actual) == len(expected) and all(
        -1 in pair or pair[0] == pair[1] for pair in zip(actual, expected, strict=True)
    )


def _response(outputs: dict[str, np.ndarray]) -> pb_utils.InferenceResponse:
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, value) for name, value in outputs.items()])
