"""Counts of the work behind an answer, which guard against the service getting slower.

Counts are the same on every machine; timings vary. These counts may fall but must not rise.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio

from tests.support.image_server import ImageServer
from tests.support.images import RED, encoded, flat, halves
from tests.support.processes import libraries_of
from tools.serve.triton_process import TritonServer
from tools.triton.statistics import Statistics, between, read_statistics

IMAGES = 100
# Measured for 100 concurrent images: 8 for preprocess, 11 to 15 for classifier. The first images run alone, then
# batches fill up.
MOST_EXECUTIONS = {"preprocess": 20, "classifier": 30}
TRIES = 3  # the best one counts: on a busy machine images arrive one by one, and fewer share an execution
PIXEL_BYTES = 224 * 224 * 3


@pytest.fixture(scope="module")
def images() -> list[bytes]:
    """100 different photo-sized JPEGs. Decoding one takes long enough for the next ones to arrive."""
    return [
        encoded(halves((index, 2 * index, 0), (0, 255 - index, index), (640, 480)), "JPEG") for index in range(IMAGES)
    ]


async def classify_at_once(triton: TritonServer, images: list[bytes]) -> Statistics:
    """Send every image as its own request, all at once, and return Triton's statistics of exactly these."""
    before = read_statistics(triton.grpc_url)
    async with tritonclient.grpc.aio.InferenceServerClient(triton.grpc_url) as client:

        async def one(image: bytes) -> None:
            tensor = tritonclient.grpc.aio.InferInput("IMAGE", [1, 1], "BYTES")
            tensor.set_data_from_numpy(np.array([[image]], dtype=np.object_))
            await client.infer("birds", [tensor])

        await asyncio.gather(*(one(image) for image in images))
    return between(before, read_statistics(triton.grpc_url))


def as_new_files(images: list[bytes], number: int) -> list[bytes]:
    """The same pictures in other files, of which no answer is cached: bytes after the end of a JPEG are ignored."""
    return [image + b"%d" % number for image in images]


async def test_concurrent_images_take_few_executions(triton: TritonServer, images: list[bytes]) -> None:
    tries = [await classify_at_once(triton, as_new_files(images, number)) for number in range(TRIES)]
    for model, most in MOST_EXECUTIONS.items():
        executions = [counts[model].executions for counts in tries]
        assert all(counts[model].inferences <= IMAGES for counts in tries)
        assert min(executions) <= most, f"{model} ran {executions} times for {IMAGES} images"
    for counts in tries:
        assert set(counts) == {"birds", *MOST_EXECUTIONS}, "no other model takes part"


def test_each_distinct_url_is_inferred_once(
    frontend: httpx.Client, triton: TritonServer, image_server: ImageServer, images: list[bytes]
) -> None:
    frontend.post("/files", files=[("files", ("first.png", flat(RED)))])  # a frontend asks once for the labels
    executions = []
    for number in range(TRIES):
        files = as_new_files(images, TRIES + number)
        urls = [image_server.add(f"/{number}/{index}.jpg", file) for index, file in enumerate(files)]
        before = read_statistics(triton.grpc_url)
        answer = frontend.post("/", json={"images": [*urls, *urls], "k": 1}).json()
        counts = between(before, read_statistics(triton.grpc_url))
        assert len(answer["successful_results"]) == IMAGES
        assert set(image_server.requests.values()) == {1}, "every image is fetched once"
        assert counts["birds_v1"].inferences == counts["birds_v1"].requests == IMAGES
        executions.append(counts["classifier"].executions)
    assert min(executions) <= 0.75 * IMAGES, f"the classifier ran {executions} times for {IMAGES} images"


def test_pixels_travel_as_one_byte_per_sample(triton: TritonServer, images: list[bytes]) -> None:
    with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as client:
        tensor = tritonclient.grpc.InferInput("IMAGE", [2, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[image] for image in images[:2]], dtype=np.object_))
        response = client.infer("preprocess", [tensor]).get_response()
        classifier = client.get_model_config("classifier").config
    assert [output.datatype for output in response.outputs] == ["UINT8"]
    assert sum(len(content) for content in response.raw_output_contents) == 2 * PIXEL_BYTES
    assert [tensor.data_type for tensor in classifier.input] == [tritonclient.grpc.model_config_pb2.TYPE_UINT8]


def test_openvino_model_does_not_load_tensorflow(triton: TritonServer) -> None:
    """One model of the test repository is pinned to TensorFlow, which proves that the check would see the library."""
    stubs = [child for child in psutil.Process(triton.pid).children(recursive=True) if "stub" in child.name()]
    models = [Path(process.cmdline()[1]).parts[-3] for process in stubs]
    assert sorted(models) == sorted(set(models)), "one process per model"
    assert {"preprocess", "classifier", "classifier_on_tensorflow"} <= set(models)
    loads = {
        model
        for model, process in zip(models, stubs, strict=True)
        if any("libtensorflow" in path for path in libraries_of(process.pid))
    }
    assert loads == {"classifier_on_tensorflow"}
