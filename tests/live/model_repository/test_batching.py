"""Dynamic batching: concurrent images share executions, and a bad image fails alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
from tritonclient.utils import InferenceServerException

from tests.support.images import BLUE, GREEN, RED, flat
from tools.serve.triton_process import TritonServer

CONCURRENT = 48


@pytest.fixture
def triton_client(triton: TritonServer) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as client:
        yield client


class Statistics:
    """Triton's counts of inferences and executions since this object was created."""

    def __init__(self, client: tritonclient.grpc.InferenceServerClient) -> None:
        self._client = client
        self._before = {model: self._counts(model) for model in ("preprocess", "classifier")}

    def _counts(self, model: str) -> tuple[int, int]:
        counts = self._client.get_inference_statistics(model, as_json=True)["model_stats"][0]
        return int(counts.get("inference_count", 0)), int(counts.get("execution_count", 0))

    def since(self, model: str, expected: int) -> tuple[int, int]:
        """Triton updates its counts after it has answered, so wait until `expected` inferences are counted."""
        deadline = time.monotonic() + 60
        before = self._before[model]
        while (now := self._counts(model))[0] - before[0] < expected and time.monotonic() < deadline:
            time.sleep(0.05)
        return now[0] - before[0], now[1] - before[1]


async def classify_concurrently(triton: TritonServer, images: list[bytes]) -> list[int | str]:
    """Send all requests at once; return the index of each image's best label, or the error text."""

    async def one(image: bytes) -> int | str:
        tensor = tritonclient.grpc.aio.InferInput("IMAGE", [1, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[image]], dtype=np.object_))
        try:
            result = await client.infer("birds", [tensor])
        except InferenceServerException as error:
            return str(error.message())
        return int(result.as_numpy("PROBABILITIES").argmax())

    async with tritonclient.grpc.aio.InferenceServerClient(triton.grpc_url) as client:
        return list(await asyncio.gather(*(one(image) for image in images)))


async def test_concurrent_images_are_batched(
    triton: TritonServer, triton_client: tritonclient.grpc.InferenceServerClient
) -> None:
    """The best of three tries counts: on a busy machine images arrive one by one."""
    images = [flat(colour, "JPEG", (640, 480)) for colour in (RED, GREEN, BLUE)] * (CONCURRENT // 3)
    executions: dict[str, list[int]] = {"preprocess": [], "classifier": []}
    for _ in range(3):
        statistics = Statistics(triton_client)
        assert await classify_concurrently(triton, images) == [0, 1, 2] * (CONCURRENT // 3)
        for model, counts in executions.items():
            inferences, count = statistics.since(model, CONCURRENT)
            assert inferences == CONCURRENT
            counts.append(count)
    for model, counts in executions.items():
        assert min(counts) <= CONCURRENT / 2, f"{model} ran {counts} times for {CONCURRENT} images"


async def test_bad_image_fails_alone_in_its_batch(triton: TritonServer) -> None:
    images = [b"no image" if index % 4 == 1 else flat(GREEN, "PNG", (300, 300)) for index in range(CONCURRENT)]
    answers = await classify_concurrently(triton, images)
    for index, answer in enumerate(answers):
        if index % 4 == 1:
            assert "not_an_image: " in str(answer)
        else:
            assert answer == 1


async def test_classifier_accepts_images_of_different_sizes(triton: TritonServer) -> None:
    async with tritonclient.grpc.aio.InferenceServerClient(triton.grpc_url) as client:

        async def one(size: int) -> tuple[int, ...]:
            tensor = tritonclient.grpc.aio.InferInput("pixels", [2, size, size, 3], "UINT8")
            tensor.set_data_from_numpy(np.full((2, size, size, 3), (0, 255, 0), np.uint8))
            rows = (await client.infer("classifier", [tensor])).as_numpy("probabilities")
            return tuple(rows.argmax(axis=1))

        answers = await asyncio.gather(*(one(8 + index % 3) for index in range(24)))
    assert set(answers) == {(1, 1)}
