"""The only module that talks to Triton: encoded image in, the k best labels out."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import partial

import numpy as np
from tritonclient.grpc.aio import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from frontend.errors import (
    DeadlineExceeded,
    ImageError,
    InferenceFailed,
    NotAnImage,
    Overloaded,
    TooExpensive,
    TooLarge,
    TooManyPixels,
    TritonUnavailable,
    UnknownModelVersion,
    UnsupportedFormat,
)
from frontend.inference.channel import channel_options, channel_target
from frontend.inference.contract import PROBE_PRIORITY, QUEUE_FULL, QUEUE_TIMEOUT, STUB_DEAD, probe_image
from frontend.inference.shielded_calls import ShieldedCalls, stands_cancellation
from frontend.inference.versions import CLASSIFIER, Catalogue, read_catalogue
from frontend.telemetry import request_stats

log = logging.getLogger(__name__)

MODEL = "birds"
_INPUT, _OUTPUT = "IMAGE", "PROBABILITIES"
_LABEL = re.compile(r"(?P<name>.+?) \((?P<common>.+)\)")
# preprocess starts its errors with a code; the ensemble puts its own name in front. too_large names the limit.
_REJECTION = re.compile(r"(?:in ensemble '\w+', )?(\w+): (?:.*?(\d+) bytes)?")
_REJECTIONS: dict[str, type[ImageError]] = {
    kind.code: kind for kind in (NotAnImage, UnsupportedFormat, TooManyPixels, TooExpensive, TooLarge)
}


@dataclass(frozen=True)
class Prediction:
    """One label with its score, a probability from 0 to 1. Labels without a common name have None."""

    bird_name: str
    common_name: str | None
    score: float


class Inference:
    """Calls the ensemble over one gRPC channel, to one Triton or several; use as an async context manager."""

    def __init__(self, triton_url: str) -> None:
        self._triton_url = triton_url

    async def __aenter__(self) -> Inference:
        self._client = InferenceServerClient(channel_target(self._triton_url), channel_args=channel_options())
        self._calls = ShieldedCalls()
        self._stands_cancellation = False
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._calls.finish()
        await self._client.close()

    async def classify(
        self,
        image: bytes,
        k: int,
        timeout_seconds: float | None = None,
        version: str | None = None,
        priority: int = 0,
    ) -> list[Prediction]:
        """Return the `k` most probable labels of an encoded image, best first, by `version` of the classifier.

        One image a call: Triton makes the batches, and one bad image fails alone. Raises ImageError for what is
        wrong with this image, UnknownModelVersion for a version that is not served, TritonUnavailable when there is
        no server to ask, or none that is well. After `timeout_seconds` Triton drops the image if it still waits in a
        queue. `priority` is a level of the models' queues; 0 is their default.
        """
        model = f"{MODEL}_v{version}" if version else MODEL
        tensor = InferInput(_INPUT, [1, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[image]], dtype=np.object_))
        # A class count of 0 would ask for all probabilities instead; the image is judged in any case.
        output = InferRequestedOutput(_OUTPUT, class_count=max(k, 1))
        infer = partial(
            self._client.infer,
            model,
            [tensor],
            outputs=[output],
            priority=priority,
            timeout=None if timeout_seconds is None else max(round(1e6 * timeout_seconds), 1),
            request_id=request_stats.triton_request_id(),
            headers=request_stats.trace_headers() or None,
        )
        try:
            if self._stands_cancellation:
                result = await infer(client_timeout=timeout_seconds)
            else:
                result = await self._calls.answer(infer, timeout_seconds)
        except TimeoutError:
            raise DeadlineExceeded() from None
        except InferenceServerException as error:
            if version and "NOT_FOUND" in str(error.status()):
                raise UnknownModelVersion(version=version) from error
            raise _translated(error) from error
        return [_prediction(entry) for entry in result.as_numpy(_OUTPUT).flat[:k]]

    async def catalogue(self, timeout_seconds: float) -> Catalogue:
        """The versions of the classifier that can be asked for. Raises TritonUnavailable."""
        try:
            server = await self._client.get_server_metadata(client_timeout=timeout_seconds)
            ensemble, classifier = [
                await self._client.get_model_config(model, as_json=True, client_timeout=timeout_seconds)
                for model in (MODEL, CLASSIFIER)
            ]
        except InferenceServerException as error:
            log.warning("Triton answered %s: %s", error.status(), error.message())
            raise TritonUnavailable() from error
        self._stands_cancellation = stands_cancellation(server.version)
        return read_catalogue(ensemble["config"], classifier["config"])

    async def probe(self, timeout_seconds: float) -> bool:
        """Whether a real inference succeeds. Triton's own readiness stays good with every Python process dead.

        A full queue is a sign of life: to call it unready would take the load's last servers out of service.
        """
        try:
            await self.classify(probe_image(), 1, timeout_seconds, priority=PROBE_PRIORITY)
        except Overloaded:
            return True
        except (ImageError, TritonUnavailable):
            return False
        return True


def _prediction(entry: bytes) -> Prediction:
    """Parse Triton's classification string, `score:index:label`."""
    score, _, label = entry.decode("utf-8").split(":", 2)
    match = _LABEL.fullmatch(label)
    name, common = match.group("name", "common") if match else (label, None)
    return Prediction(name, common, float(score))


def _translated(error: InferenceServerException) -> ImageError | TritonUnavailable:
    status, message = str(error.status() or ""), str(error.message() or "")
    match = _REJECTION.match(message)
    if "INVALID_ARGUMENT" in status and match and match[1] in _REJECTIONS:
        return _REJECTIONS[match[1]](**({"max": int(match[2])} if match[2] else {}))
    if QUEUE_FULL in message:
        return Overloaded()
    if QUEUE_TIMEOUT in message or "DEADLINE_EXCEEDED" in status:
        return DeadlineExceeded()
    log.warning("Triton answered %s: %s", status, message)
    return TritonUnavailable() if "UNAVAILABLE" in status or STUB_DEAD in message else InferenceFailed()
