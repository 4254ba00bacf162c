"""A fake Triton over real gRPC: the KServe v2 calls that the frontend makes, with scripted failures.

By default it answers as the tiny model does. `behaviour` can delay an image or make it fail.
tests/support/triton_cases.py holds this server to the same cases as the real one.
"""

from __future__ import annotations

import asyncio
import io
import json
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from grpc import StatusCode, aio
from PIL import Image, UnidentifiedImageError
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from frontend.inference.contract import (
    FINGERPRINT_PARAMETER,
    PROBE_PRIORITY,
    QUEUE_FULL,
    RANDOM_PARAMETER,
    STUB_DEAD,
    ensemble_model_version,
)
from tests.support.tiny_model import LABELS

SAFE_VERSION, CANCELLATION_CRASHES_VERSION = "2.57.0", "2.51.0"


class TritonFailure(Exception):
    """An error that the fake answers with."""

    def __init__(self, code: StatusCode, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def dead_stub(model: str = "preprocess") -> TritonFailure:
    return TritonFailure(
        StatusCode.INTERNAL,
        f"in ensemble 'birds', Failed to process the request(s) for model instance '{model}_0_0', message: "
        f"Stub process '{model}_0_0' {STUB_DEAD}.",
    )


def full_queue() -> TritonFailure:
    return TritonFailure(StatusCode.UNAVAILABLE, f"in ensemble 'birds', {QUEUE_FULL}")


def stopping() -> TritonFailure:
    return TritonFailure(StatusCode.UNAVAILABLE, "Server not ready")


def rejection(code: str) -> TritonFailure:
    return TritonFailure(StatusCode.INVALID_ARGUMENT, f"in ensemble 'birds', {code}: the fake says so")


@dataclass
class FakeVersion:
    """One version of the classifier: `answer` gives the probabilities of an image."""

    labels: list[str] = field(default_factory=lambda: list(LABELS))
    fingerprint: str | None = "1" * 64
    answer: Callable[[bytes], list[float]] | None = None
    is_random: bool = False


@dataclass
class InferenceCall:
    """One inference that the fake was asked for."""

    model: str
    image: bytes
    is_probe: bool
    parameters: dict[str, int]


class FakeTriton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """What one server serves, how it fails, and what it was asked. Change the attributes while it runs."""

    def __init__(self, versions: dict[str, FakeVersion] | None = None, server_version: str = SAFE_VERSION) -> None:
        self.versions = {"1": FakeVersion()} if versions is None else versions
        self.default: str | None = next(iter(self.versions), None)
        self.server_version = server_version
        self.behaviour: Callable[[InferenceCall], Awaitable[None]] | None = None  # may wait, or raise TritonFailure
        self.catalogue_failure: TritonFailure | None = None
        self.catalogue_seconds = 0.0
        self.inferences: list[InferenceCall] = []
        self.catalogues = 0
        self.cancelled = 0
        self.is_stub_dead = False
        self.address = ""
        self.server: aio.Server | None = None

    @property
    def images(self) -> list[bytes]:
        """The images of users, in the order in which they came; probes are left out."""
        return [inference.image for inference in self.inferences if not inference.is_probe]

    async def start(self, address: str = "127.0.0.1:0") -> str:
        """Listen and return the address; a fake that was stopped keeps its address."""
        self.server = aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self.server)
        port = self.server.add_insecure_port(self.address or address)
        await self.server.start()
        self.address = f"{address.rpartition(':')[0]}:{port}"
        return self.address

    async def stop(self, grace_seconds: float | None = None) -> None:
        """Stop listening. Without a grace period calls under way lose their connection."""
        server, self.server = self.server, None
        if server is not None:
            await server.stop(grace_seconds)

    async def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ServerMetadataResponse(name="triton", version=self.server_version)

    async def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.name == "birds":
            self.catalogues += 1
        await asyncio.sleep(self.catalogue_seconds)
        if self.catalogue_failure:
            await context.abort(self.catalogue_failure.code, self.catalogue_failure.message)
        config = model_config_pb2.ModelConfig(name=request.name)
        if request.name == "birds":
            step = config.ensemble_scheduling.step.add(model_name="classifier", model_version=int(self.default or -1))
            step.output_map["probabilities"] = "PROBABILITIES"
            for number, version in self.versions.items():
                about = {"labels": len(version.labels), "source": "fake", "engine": "openvino", "published": None}
                config.parameters[f"version.{number}"].string_value = json.dumps(about)
                if version.fingerprint:
                    config.parameters[FINGERPRINT_PARAMETER + number].string_value = version.fingerprint
                if version.is_random:
                    config.parameters[RANDOM_PARAMETER + number].string_value = "true"
        return service_pb2.ModelConfigResponse(config=config)

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        inference = _inference(request)
        self.inferences.append(inference)
        try:
            return await self._answer(request, inference)
        except TritonFailure as failure:
            await context.abort(failure.code, failure.message)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def _answer(self, request: Any, inference: InferenceCall) -> Any:
        if self.is_stub_dead:
            raise dead_stub()
        if self.behaviour is not None:
            await self.behaviour(inference)
        number = request.model_name.removeprefix("birds").removeprefix("_v") or self.default
        version = self.versions.get(number or "")
        if version is None:
            raise TritonFailure(StatusCode.NOT_FOUND, f"Request for unknown model: '{request.model_name}' is not found")
        row = version.answer(inference.image) if version.answer else _by_colour(inference.image)
        answer = service_pb2.ModelInferResponse(model_name=request.model_name, id=request.id)
        answer.model_version = str(ensemble_model_version(version.fingerprint)) if version.fingerprint else "1"
        output = answer.outputs.add(name="PROBABILITIES")
        count = request.outputs[0].parameters["classification"].int64_param
        if count:
            order = sorted(range(len(row)), key=lambda index: -row[index])[:count]
            strings = [f"{row[index]:f}:{index}:{version.labels[index]}".encode() for index in order]
            output.datatype = "BYTES"
            answer.raw_output_contents.append(b"".join(struct.pack("<I", len(text)) + text for text in strings))
            output.shape.extend([1, len(strings)])
        else:
            output.datatype = "FP32"
            answer.raw_output_contents.append(np.array(row, np.float32).tobytes())
            output.shape.extend([1, len(row)])
        return answer


@asynccontextmanager
async def running_tritons(*tritons: FakeTriton) -> AsyncIterator[str]:
    """Run the fakes, and yield a value of BIRDS_TRITON_URL that names them all."""
    try:
        yield ",".join([await triton.start() for triton in tritons])
    finally:
        await asyncio.gather(*(triton.stop() for triton in tritons))


@contextmanager
def running_in_a_thread(triton: FakeTriton) -> Iterator[str]:
    """Run the fake on an event loop of its own, for tests that are not asynchronous. Yield its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(triton.start(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(triton.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def _inference(request: Any) -> InferenceCall:
    parameters = {
        name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in request.parameters.items()
    }
    image = request.raw_input_contents[0][4:]
    return InferenceCall(request.model_name, image, parameters.get("priority") == PROBE_PRIORITY, parameters)


def _by_colour(image: bytes) -> list[float]:
    """The tiny model's answer: a softmax of the mean of each colour channel, and of 0.55 for the background."""
    try:
        pixels = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"), np.float64)
    except (UnidentifiedImageError, OSError) as error:
        raise rejection("not_an_image") from error
    powers = np.exp(10 * np.append(pixels.mean(axis=(0, 1)) / 255, 0.55))
    return [float(power) for power in powers / powers.sum()]
