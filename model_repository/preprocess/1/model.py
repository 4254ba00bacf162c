"""The `preprocess` model: requests of encoded images in, one response of pixels (or one error) a request out."""

from __future__ import annotations

import dataclasses
import json
import os
import traceback
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import triton_python_backend_utils as pb_utils
from bird_pixels import ImageRejected, PixelFormat, open_image, pixels
from decoding_memory import DecodingMemory, limited_memory

_BUG = "internal_error"
Decoding = dict[str, list["Future[np.ndarray | ImageRejected]"]]  # by output, image by image


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"])["parameters"]
        numbers = {name: int(value["string_value"]) for name, value in parameters.items()}
        self.memory = DecodingMemory(numbers.pop("decoding_memory_bytes"))
        self.memory_limit_bytes = numbers.pop("memory_limit_bytes")
        self.default = PixelFormat(**numbers)
        self.pool = ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0)), thread_name_prefix="decode")

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        with limited_memory(self.memory_limit_bytes):
            decoding = [self._begin(request) for request in requests]
            outcomes = [
                {name: [image.result() for image in images] for name, images in outputs.items()} for outputs in decoding
            ]
        return [_respond(outputs) for outputs in outcomes]

    def _begin(self, request: pb_utils.InferenceRequest) -> Decoding:
        """Have every image decoded at the size of each output that is asked for."""
        images = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy().ravel()
        return {
            output: [self.pool.submit(self._decode, data, self._format(output)) for data in images]
            for output in request.requested_output_names()
        }

    def _format(self, output: str) -> PixelFormat:
        """The size in an output's name, PIXELS_<height>x<width>; PIXELS alone has the one of the configuration."""
        _, _, size = output.partition("_")
        if not size:
            return self.default
        height, width = map(int, size.split("x"))
        return dataclasses.replace(self.default, width=width, height=height)

    def _decode(self, data: bytes, wanted: PixelFormat) -> np.ndarray | ImageRejected:
        try:
            image = open_image(data, wanted)
            with self.memory.reserve(image.decoding_bytes):
                return pixels(image, wanted)
        except ImageRejected as rejected:
            return rejected
        except MemoryError:
            return ImageRejected("too_many_pixels", "decoding it takes more memory than is allowed")
        except Exception:  # uncaught, it would fail the whole batch and show clients the traceback
            pb_utils.Logger.log_error(f"unexpected failure on one image: {traceback.format_exc()}")
            return ImageRejected(_BUG, "it has been logged")

    def finalize(self) -> None:
        self.pool.shutdown()


def _respond(outputs: dict[str, list[np.ndarray | ImageRejected]]) -> pb_utils.InferenceResponse:
    tensors = []
    for name, outcomes in outputs.items():
        decoded = []
        for outcome in outcomes:
            if isinstance(outcome, ImageRejected):
                kind = pb_utils.TritonError.INTERNAL if outcome.code == _BUG else pb_utils.TritonError.INVALID_ARG
                return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(outcome), kind))
            decoded.append(outcome)
        tensors.append(pb_utils.Tensor(name, np.stack(decoded)))
    return pb_utils.InferenceResponse(tensors)
