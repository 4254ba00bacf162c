"""The `preprocess` model: takes requests of encoded images and answers each with pixels or with one error.

JPEG and PNG files of ordinary size are decoded in this process, on one thread per core: their cost is known in advance.
Everything else is decoded by worker processes, see `decode_pool`. A slow image does not hold up the others of its
batch: their responses leave first, and its own follows when it is done.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
import traceback
from concurrent.futures import Future, ThreadPoolExecutor, wait
from math import inf
from typing import TypeAlias

import numpy as np
import triton_python_backend_utils as pb_utils
from bird_pixels import ImageRejected, OpenedImage, PixelFormat, decode_opened, open_if_cheap
from damaged_images import DamagedImages
from decode_pool import DecodePool
from recent_digests import RecentDigests

_BUG = "internal_error"
_EXPIRED = "deadline_exceeded"
# How long a batch waits for images that workers decode. Most take less, and one response for all costs less.
_BATCH_SECONDS = 0.1
# While this many requests wait for a worker, no more are taken from Triton's queue, which has its own limits.
_MAX_LATE_REQUESTS = 256
_REMEMBERED_PROFILES = 256

Outcome: TypeAlias = "np.ndarray | ImageRejected"
Outputs: TypeAlias = "dict[str, list[Outcome | Future[Outcome]]]"  # image by image


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        numbers = {name: float(value["string_value"]) for name, value in config["parameters"].items()}
        seconds, bytes_per_pixel = numbers.pop("decode_seconds"), numbers.pop("decode_bytes_per_pixel")
        self.default = PixelFormat(**{name: int(number) for name, number in numbers.items()})
        formats = [self._format(output["name"]) for output in config["output"]]
        self.workers = DecodePool(
            seconds,
            memory_bytes=int(bytes_per_pixel * self.default.max_pixels),
            max_bytes=self.default.max_bytes,
            max_pixel_bytes=max(3 * wanted.width * wanted.height for wanted in formats),
        )
        # The name is CORES_VARIABLE in frontend/limits/usable_cores.py, which Triton's processes cannot import.
        cores = int(os.environ.get("BIRDS_USABLE_CORES") or len(os.sched_getaffinity(0)))
        self.decoding_threads = ThreadPoolExecutor(cores, thread_name_prefix="decode")
        self.waiting_threads = ThreadPoolExecutor(cores, thread_name_prefix="wait")
        self.srgb_profiles = RecentDigests(_REMEMBERED_PROFILES)
        self.damaged_images = DamagedImages()
        self.late_requests = threading.BoundedSemaphore(_MAX_LATE_REQUESTS)

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse | None]:
        """Answer each request with uint8 pixels `[n, height, width, 3]` for each output, with an error, or later."""
        begun = [self._begin(request) for request in requests]
        decoding = [{name: [image.result() for image in images] for name, images in one.items()} for one in begun]
        wait([image for outputs in decoding for image in _unfinished(outputs)], timeout=_BATCH_SECONDS)
        return [self._respond(request, outputs) for request, outputs in zip(requests, decoding, strict=True)]

    def finalize(self) -> None:
        self.decoding_threads.shutdown()
        self.waiting_threads.shutdown()
        self.workers.close()
        self.damaged_images.close()

    def _begin(self, request: pb_utils.InferenceRequest) -> dict[str, list[Future[Outcome | Future[Outcome]]]]:
        """Have every image decoded at the size of each requested output."""
        images = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy().ravel()
        expires_at = _expires_at(request)
        return {
            output: [
                self.decoding_threads.submit(self._decode, data, self._format(output), expires_at) for data in images
            ]
            for output in request.requested_output_names()
        }

    def _format(self, output: str) -> PixelFormat:
        """The size in an output's name, PIXELS_<height>x<width>; PIXELS alone has the size of the configuration."""
        _, _, size = output.partition("_")
        if not size:
            return self.default
        height, width = map(int, size.split("x"))
        return dataclasses.replace(self.default, width=width, height=height)

    def _decode(self, data: bytes, wanted: PixelFormat, expires_at: float) -> Outcome | Future[Outcome]:
        """Decode a cheap image; hand any other on to a worker."""
        try:
            opened = open_if_cheap(data, wanted)
            if opened and self._converts_cheaply(opened):
                # Without a profile: it changes nothing, and lcms should not parse a stranger's profile in this process.
                decoded = np.asarray(decode_opened(dataclasses.replace(opened, profile=None), wanted))
                self.damaged_images.count(opened.damage)
                return decoded
        except ImageRejected as rejected:
            return rejected
        except Exception:  # uncaught, it would fail the whole batch and show clients the traceback
            return _bug(traceback.format_exc())
        profile = opened.profile if opened else None
        return self.waiting_threads.submit(self._decode_in_worker, data, wanted, profile, expires_at)

    def _converts_cheaply(self, opened: OpenedImage) -> bool:
        """Whether the image has no profile, or one that a worker has found to mean sRGB."""
        return opened.profile is None or opened.profile in self.srgb_profiles

    def _decode_in_worker(self, data: bytes, wanted: PixelFormat, profile: bytes | None, expires_at: float) -> Outcome:
        if time.monotonic() > expires_at:  # its client no longer waits, but others do
            return ImageRejected(_EXPIRED, "Request timeout expired")
        try:
            decoded = self.workers.decode(data, wanted)
            if profile and decoded.has_srgb_profile:
                self.srgb_profiles.add(profile)
            self.damaged_images.count(decoded.damage)
            return decoded.pixels
        except ImageRejected as rejected:
            return _bug(rejected.reason) if rejected.code == _BUG else rejected
        except Exception:
            return _bug(traceback.format_exc())

    def _respond(self, request: pb_utils.InferenceRequest, outputs: Outputs) -> pb_utils.InferenceResponse | None:
        """Return the response, or None if an image is not done: the last image to finish then sends the response."""
        unfinished = _unfinished(outputs)
        if not unfinished:
            return _response(outputs)
        left = threading.Semaphore(len(unfinished) - 1)
        sender = request.get_response_sender()
        self.late_requests.acquire()

        def finish(_: Future[Outcome]) -> None:
            if left.acquire(blocking=False):
                return
            self.late_requests.release()
            try:
                _send(sender, _response(outputs))
            except Exception:  # the executor would swallow it, and Triton would wait for the response forever
                _send(sender, _error(_bug(traceback.format_exc())))

        for image in unfinished:
            image.add_done_callback(finish)
        return None


def _expires_at(request: pb_utils.InferenceRequest) -> float:
    """Return when the client stops waiting, on time.monotonic(). Triton drops expired requests only from its queues."""
    timeout_microseconds: int = request.timeout()
    return time.monotonic() + timeout_microseconds / 1e6 if timeout_microseconds else inf


def _unfinished(outputs: Outputs) -> list[Future[Outcome]]:
    return [image for images in outputs.values() for image in images if isinstance(image, Future) and not image.done()]


def _bug(details: str) -> ImageRejected:
    pb_utils.Logger.log_error(f"unexpected failure on one image: {details}")
    return ImageRejected(_BUG, "it has been logged")


def _response(outputs: Outputs) -> pb_utils.InferenceResponse:
    tensors = []
    for name, images in outputs.items():
        decoded = []
        for image in images:
            outcome = image.result() if isinstance(image, Future) else image
            if isinstance(outcome, ImageRejected):
                return _error(outcome)
            decoded.append(outcome)
        tensors.append(pb_utils.Tensor(name, np.stack(decoded)))
    return pb_utils.InferenceResponse(tensors)


def _error(rejected: ImageRejected) -> pb_utils.InferenceResponse:
    kinds = {_BUG: pb_utils.TritonError.INTERNAL, _EXPIRED: pb_utils.TritonError.UNAVAILABLE}
    kind = kinds.get(rejected.code, pb_utils.TritonError.INVALID_ARG)
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(rejected), kind))


def _send(sender: pb_utils.InferenceResponseSender, response: pb_utils.InferenceResponse) -> None:
    sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
