"""The `preprocess` model: requests of encoded images in, one response of pixels (or one error) a request out."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import triton_python_backend_utils as pb_utils
from bird_pixels import ImageRejected, PixelFormat, decode


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"])["parameters"]
        self.wanted = PixelFormat(**{name: int(value["string_value"]) for name, value in parameters.items()})
        self.pool = ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0)), thread_name_prefix="decode")

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        images = [pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy() for request in requests]
        outcomes = iter(list(self.pool.map(self._decode, (data for batch in images for data in batch.flat))))
        return [_respond([next(outcomes) for _ in range(batch.size)]) for batch in images]

    def _decode(self, data: bytes) -> np.ndarray | ImageRejected:
        try:
            return decode(data, self.wanted)
        except ImageRejected as rejected:
            return rejected

    def finalize(self) -> None:
        self.pool.shutdown()


def _respond(outcomes: list[np.ndarray | ImageRejected]) -> pb_utils.InferenceResponse:
    pixels = []
    for outcome in outcomes:
        if isinstance(outcome, ImageRejected):
            error = pb_utils.TritonError(str(outcome), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=error)
        pixels.append(outcome)
    return pb_utils.InferenceResponse([pb_utils.Tensor("PIXELS", np.stack(pixels))])
