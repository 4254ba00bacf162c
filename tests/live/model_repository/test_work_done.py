"""How much work an answer takes, in counts that are the same on every machine: the guard against getting slower.

A timing says more, but wobbles; what is counted here may only get less.
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
from tests.support.images import encoded, halves
from tools.measure.bench.processes import libraries_of
from tools.serve.triton_process import TritonServer
from tools.triton.statistics import Statistics, between, read_statistics

IMAGES = 100
# Of 100 images that are there at once: 8 and 11 to 15 were seen. The first to arrive run alone, then batches fill up
MOST_EXECUTIONS = {"preprocess": 20, "classifier": 30}
PIXEL_BYTES = 224 * 224 * 3


@pytest.fixture(scope="module")
def images() -> list[bytes]:
    """Photo-sized JPEGs, all different: decoding takes long enough for the next ones to arrive."""
    return [
        encoded(halves((index, 2 * index, 0), (0, 255 - index, index), (640, 480)), "JPEG") for index in range(IMAGES)
    ]


async def classify_at_once(triton: TritonServer, images: list[bytes]) -> Statistics:
    """Triton's statistics of exactly these images, each a request of its own, all sent together."""
    before = read_statistics(triton.grpc_url)
    async with tritonclient.grpc.aio.InferenceServerClient(triton.grpc_url) as client:

        async def one(image: bytes) -> None:
            tensor = tritonclient.grpc.aio.InferInput("IMAGE", [1, 1], "BYTES")
            tensor.set_data_from_numpy(np.array([[image]], dtype=np.object_))
            await client.infer("birds", [tensor])

        await asyncio.gather(*(one(image) for image in images))
    return between(before, read_statistics(triton.grpc_url))


async def test_a_hundred_images_at_once_take_few_executions(triton: TritonServer, images: list[bytes]) -> None:
    counts = await classify_at_once(triton, images)
    for model, most in MOST_EXECUTIONS.items():
        assert counts[model].inferences <= IMAGES
        assert counts[model].executions <= most, f"{model} ran {counts[model].executions} times for {IMAGES} images"
    assert set(counts) == {"birds", *MOST_EXECUTIONS}, "no other model takes part"


def test_a_call_of_a_hundred_urls_asks_triton_once_an_image(
    frontend: httpx.Client, triton: TritonServer, image_server: ImageServer, images: list[bytes]
) -> None:
    urls = [image_server.add(f"/{index}.jpg", image) for index, image in enumerate(images)]
    before = read_statistics(triton.grpc_url)
    answer = frontend.post("/", json={"images": [*urls, *urls], "k": 1}).json()
    counts = between(before, read_statistics(triton.grpc_url))
    assert len(answer["successful_results"]) == IMAGES
    assert set(image_server.requests.values()) == {1}, "every image is fetched once"
    assert counts["birds_v1"].inferences == counts["birds_v1"].requests == IMAGES
    assert counts["classifier"].executions <= IMAGES / 2


def test_the_tensor_between_the_steps_is_a_byte_a_sample(triton: TritonServer, images: list[bytes]) -> None:
    with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as client:
        tensor = tritonclient.grpc.InferInput("IMAGE", [2, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[image] for image in images[:2]], dtype=np.object_))
        response = client.infer("preprocess", [tensor]).get_response()
        classifier = client.get_model_config("classifier").config
    assert [output.datatype for output in response.outputs] == ["UINT8"]
    assert sum(len(content) for content in response.raw_output_contents) == 2 * PIXEL_BYTES
    assert [tensor.data_type for tensor in classifier.input] == [tritonclient.grpc.model_config_pb2.TYPE_UINT8]


def test_a_model_is_one_process_and_openvino_does_without_tensorflow(triton: TritonServer) -> None:
    """One of the test repository's models is pinned to TensorFlow, which shows that the library would be seen."""
    stubs = [child for child in psutil.Process(triton.pid).children(recursive=True) if "stub" in child.name()]
    models = [Path(process.cmdline()[1]).parts[-3] for process in stubs]
    assert sorted(models) == sorted(set(models)), "a process a model"
    assert {"preprocess", "classifier", "classifier_on_tensorflow"} <= set(models)
    loads = {
        model
        for model, process in zip(models, stubs, strict=True)
        if any("libtensorflow" in path for path in libraries_of(process.pid))
    }
    assert loads == {"classifier_on_tensorflow"}
