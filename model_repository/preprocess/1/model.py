"""The `preprocess` model: requests of encoded images in, one response of pixels (or one error) a request out."""

from __future__ import annotations

import json
import os
import traceback
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import triton_python_backend_utils as pb_utils
from bird_pixels import ImageRejected, PixelFormat, open_image, pixels
from decoding_memory import DecodingMemory, limited_memory

_BUG = "internal_error"


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"])["parameters"]
        numbers = {name: int(value["string_value"]) for name, value in parameters.items()}
        self.memory = DecodingMemory(numbers.pop("decoding_memory_bytes"))
        self.memory_limit_bytes = numbers.pop("memory_limit_bytes")
        self.wanted = PixelFormat(**numbers)
        self.pool = ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0)), thread_name_prefix="decode")

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        images = [pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy() for request in requests]
        with limited_memory(self.memory_limit_bytes):
            outcomes = iter(list(self.pool.map(self._decode, (data for batch in images for data in batch.flat))))
        return [_respond([next(outcomes) for _ in range(batch.size)]) for batch in images]

    def _decode(self, data: bytes) -> np.ndarray | ImageRejected:
        try:
            image = open_image(data, self.wanted)
            with self.memory.reserve(image.decoding_bytes):
                return pixels(image, self.wanted)
        except ImageRejected as rejected:
            return rejected
        except MemoryError:
            return ImageRejected("too_many_pixels", "decoding it takes more memory than is allowed")
        except Exception:  # uncaught, it would fail the whole batch and show clients the traceback
            pb_utils.Logger.log_error(f"unexpected failure on one image: {traceback.format_exc()}")
            return ImageRejected(_BUG, "it has been logged")

    def finalize(self) -> None:
        self.pool.shutdown()


def _respond(outcomes: list[np.ndarray | ImageRejected]) -> pb_utils.InferenceResponse:
    decoded = []
    for outcome in outcomes:
        if isinstance(outcome, ImageRejected):
            kind = pb_utils.TritonError.INTERNAL if outcome.code == _BUG else pb_utils.TritonError.INVALID_ARG
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(outcome), kind))
        decoded.append(outcome)
    return pb_utils.InferenceResponse([pb_utils.Tensor("PIXELS", np.stack(decoded))])
