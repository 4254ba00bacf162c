"""Encoded image in, scores out: the interface of this package for the rest of the frontend."""

from __future__ import annotations

import logging
import struct
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import numpy as np
from anyio import fail_after
from grpc import aio
from tritonclient.grpc import service_pb2

from frontend.errors import (
    DeadlineExceeded,
    ImageError,
    InferenceFailed,
    Overloaded,
    TritonUnavailable,
    UnknownModelVersion,
)
from frontend.inference.answer_cache import AnswerCache
from frontend.inference.attempts import Attempts, Response
from frontend.inference.contract import PROBE_PRIORITY, ensemble_model_version, probe_image
from frontend.inference.failures import AttemptFailure, ModelNotFound, failure_of
from frontend.inference.infer_request import InferRequest
from frontend.inference.scores import ImageScores, Labels, Row, parse_classification
from frontend.inference.server_pool import NoServer, ServerPool, TritonPeer
from frontend.inference.shielded_calls import cancellable_answer
from frontend.inference.single_flight import SingleFlight
from frontend.inference.target import triton_target
from frontend.inference.versions import CLASSIFIER, Catalogue, ModelVersion, read_catalogue
from frontend.telemetry import request_stats
from frontend.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

MODEL = "birds"
_NO_MODEL = ""  # a server that can serve no images can still describe its models
_ALL_CLASSES = 1_000_000  # Triton returns as many as there are
_SERVER_PROBE_SECONDS = 5.0


class Inference:
    """Calls the ensemble on one or several Triton servers; use as an async context manager.

    `answer_cache_bytes` bounds the memory for answers to images that were seen before; 0 turns the cache off.
    """

    def __init__(self, triton_url: str, answer_cache_bytes: int = 0, metrics: Metrics | None = None) -> None:
        self._target = triton_target(triton_url)
        self._answers = AnswerCache(answer_cache_bytes, metrics)
        self._versions: dict[str, ModelVersion] = {}
        self._labels: dict[str, Labels] = {}  # by fingerprint
        self._label_calls: SingleFlight[str, Labels] = SingleFlight()

    async def __aenter__(self) -> Inference:
        self._pool = ServerPool(self._target, self._probe_server)
        self._attempts = Attempts(self._pool)
        self._stack = AsyncExitStack()
        await self._stack.enter_async_context(self._pool)
        self._stack.push_async_callback(self._attempts.finish)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def is_recovery_likely(self) -> bool:
        """Whether images may wait for Triton: a server is connected, or was lost a short time ago."""
        return self._pool.is_recovery_likely

    async def scores(
        self, image: bytes, timeout_seconds: float | None = None, version: str | None = None
    ) -> ImageScores:
        """Return the probabilities that `version` of the classifier gives an encoded image.

        Each call sends one image: Triton makes the batches, and a bad image fails alone. While a lost Triton is likely
        to return, the call waits for it. After `timeout_seconds` Triton drops the image if it still waits in a queue.
        A caller that must not wait longer needs a cancel scope: an equal image of another caller may be in progress.
        Raises ImageError for what is wrong with this image, UnknownModelVersion for a version that is not served,
        TritonUnavailable when no server works.
        """
        try:
            return await self._scores(image, _deadline(timeout_seconds), version)
        except ModelNotFound as error:
            raise (UnknownModelVersion(version=version) if version else InferenceFailed()) from error

    async def labels(self, version: str, timeout_seconds: float | None = None) -> Labels | None:
        """Return the labels of a version in the last catalogue, or None for a version without a fingerprint.

        Raises UnknownModelVersion if the version has just been retired, TritonUnavailable if Triton does not answer
        within `timeout_seconds`.
        """
        known = self._versions.get(version)
        if known is None or known.fingerprint is None:
            return None
        try:
            with fail_after(timeout_seconds):
                return await self._labels_of(f"{MODEL}_v{version}", known.fingerprint, _deadline(timeout_seconds))
        except ModelNotFound as error:
            raise UnknownModelVersion(version=version) from error
        except (ImageError, TimeoutError) as error:  # the error is about the image that is sent to get the labels
            raise TritonUnavailable() from error

    async def catalogue(self, timeout_seconds: float) -> Catalogue:
        """Return the versions of the classifier that can be asked for. Raises TritonUnavailable."""
        try:
            with fail_after(timeout_seconds):
                catalogue = await self._read_catalogue(timeout_seconds)
        except (NoServer, TimeoutError):
            raise TritonUnavailable() from None
        except aio.AioRpcError as error:
            log.warning("Triton answered %s: %s", error.code().name, error.details())
            raise TritonUnavailable() from error
        self._versions = catalogue.versions
        for unused in self._labels.keys() - {version.fingerprint for version in self._versions.values()}:
            del self._labels[unused]
        return catalogue

    async def probe(self, timeout_seconds: float) -> bool:
        """Whether a real inference succeeds. Triton's own readiness stays good with every Python process dead.

        A full queue is a sign of life: if it made the server unready, the last servers would leave the load balancer.
        """
        try:
            await self._attempts.infer(
                InferRequest(MODEL, probe_image(), PROBE_PRIORITY), timeout_seconds, is_probe=True
            )
        except Overloaded:
            return True
        except (ImageError, TritonUnavailable, ModelNotFound):
            return False
        return True

    async def _scores(self, image: bytes, end: float | None, version: str | None) -> ImageScores:
        model = f"{MODEL}_v{version}" if version else MODEL
        known = self._versions.get(version or "")
        if known is not None and (fingerprint := known.fingerprint) is not None:
            labels = await self._labels_of(model, fingerprint, end)
            if labels is not None:
                try:
                    ask = partial(self._row, model, fingerprint, image, end)
                    row = await (ask() if known.is_random else self._answers.row(image, fingerprint, ask))
                    return ImageScores(row, labels)
                except _OtherWeights:
                    log.info("Triton serves %s with other weights than its catalogue said", model)
        return parse_classification(_strings(await self._infer(_all_classes(model, image), end)))

    async def _row(self, model: str, fingerprint: str, image: bytes, end: float | None) -> Row:
        """Ask for the probabilities, float32 of shape [labels]. Raises _OtherWeights."""
        answer = await self._infer(InferRequest(model, image), end)
        if answer.model_version != str(ensemble_model_version(fingerprint)):
            raise _OtherWeights
        return np.frombuffer(answer.raw_output_contents[0], np.float32)

    async def _labels_of(self, model: str, fingerprint: str, end: float | None) -> Labels | None:
        """Return the labels of a version, asked for once; None if Triton now serves other weights under its name."""
        if (known := self._labels.get(fingerprint)) is not None:
            return known

        async def ask() -> Labels:
            answer = await self._infer(_all_classes(model, probe_image()), end)
            if answer.model_version != str(ensemble_model_version(fingerprint)):
                raise _OtherWeights
            labels = self._labels[fingerprint] = parse_classification(_strings(answer)).labels
            return labels

        try:
            return await self._label_calls.run(fingerprint, ask)
        except _OtherWeights:
            return None

    async def _infer(self, request: InferRequest, end: float | None) -> Response:
        """Send `request`; `end` is the deadline on time.monotonic(). Raises what Attempts.infer raises."""
        timeout_seconds = None if end is None else max(end - time.monotonic(), 0)
        request.message.id = request_stats.triton_request_id()
        metadata = tuple(request_stats.trace_headers().items())
        return await self._attempts.infer(request, timeout_seconds, metadata)

    async def _read_catalogue(self, timeout_seconds: float) -> Catalogue:
        asked: set[TritonPeer] = set()
        end = time.monotonic() + timeout_seconds
        while True:
            server = await self._pool.choose(_NO_MODEL, end, waits_for_recovery=False, avoid=asked)
            try:
                with server.running_call():
                    configs: list[Any] = [
                        await cancellable_answer(
                            server.stub.ModelConfig(service_pb2.ModelConfigRequest(name=model), timeout=timeout_seconds)
                        )
                        for model in (MODEL, CLASSIFIER)
                    ]
            except aio.AioRpcError:
                if server in asked:
                    raise
                asked.add(server)
            else:
                ensemble, classifier = (answer.config for answer in configs)
                return read_catalogue(ensemble, classifier)

    async def _probe_server(self, server: TritonPeer, model: str) -> bool:
        """Whether one server can serve `model` again."""
        request = InferRequest(model, probe_image(), PROBE_PRIORITY)
        try:
            await self._attempts.infer_on(server, request, _SERVER_PROBE_SECONDS)
        except DeadlineExceeded:
            return False
        except aio.AioRpcError as error:
            return failure_of(error) in (AttemptFailure.QUEUE_FULL, AttemptFailure.UNKNOWN_MODEL)
        return True


class _OtherWeights(Exception):
    """The answer comes from other weights than those with the fingerprint that was expected."""


def _deadline(timeout_seconds: float | None) -> float | None:
    """Return when the timeout passes, on time.monotonic(). All calls made for one image share this moment."""
    return None if timeout_seconds is None else time.monotonic() + timeout_seconds


def _all_classes(model: str, image: bytes) -> InferRequest:
    """Build a request for every label with its score, as strings."""
    request = InferRequest(model, image)
    request.output.parameters["classification"].int64_param = _ALL_CLASSES
    return request


def _strings(answer: Response) -> list[bytes]:
    """Return the elements of a BYTES tensor: each is preceded by its length, 4 bytes, little endian."""
    raw, position, strings = answer.raw_output_contents[0], 0, []
    while position < len(raw):
        (size,) = struct.unpack_from("<I", raw, position)
        strings.append(raw[position + 4 : position + 4 + size])
        position += 4 + size
    return strings
