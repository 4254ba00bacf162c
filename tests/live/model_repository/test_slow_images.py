"""Images that take long to decode delay no other images, and fail with a code when they take too long."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import tritonclient.grpc.aio
from PIL import Image
from tritonclient.utils import InferenceServerException

from tests.support.hostile_images import bmp_row_of_zeros
from tests.support.images import GREEN, RED, encoded, flat
from tests.support.processes import children
from tools.serve.triton_process import TritonServer


def slow_gif() -> bytes:
    """A red picture of 48 megapixels, which takes about a second. Pillow's quantizer overflows on so many pixels."""
    image = Image.new("P", (8000, 6000), 0)
    image.putpalette(RED)
    return encoded(image, "GIF")


SLOW = slow_gif()


async def infer(
    client: tritonclient.grpc.aio.InferenceServerClient, images: list[bytes], model: str = "birds"
) -> np.ndarray:
    """Probabilities, or pixels from a twin of `preprocess`."""
    tensor = tritonclient.grpc.aio.InferInput("IMAGE", [len(images), 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[image] for image in images], dtype=np.object_))
    output = "PROBABILITIES" if model == "birds" else "PIXELS"
    result: np.ndarray = (await client.infer(model, [tensor])).as_numpy(output)
    return result


async def test_quick_images_are_answered_before_slow_ones(triton: TritonServer) -> None:
    async with tritonclient.grpc.aio.InferenceServerClient(triton.grpc_url) as client:
        slow = [asyncio.ensure_future(infer(client, [SLOW])) for _ in range(4)]
        for _ in range(10):
            assert (await infer(client, [flat(GREEN, "JPEG")])).argmax() == 1
        assert not all(task.done() for task in slow)
        assert [int((await task).argmax()) for task in slow] == [0] * 4


async def test_rows_wait_for_a_slow_image_of_theirs(triton: TritonServer) -> None:
    async with tritonclient.grpc.aio.InferenceServerClient(triton.grpc_url) as client:
        rows = await infer(client, [flat(GREEN), SLOW, flat(GREEN, "WEBP")])
    assert rows.argmax(axis=1).tolist() == [1, 0, 1]


async def test_too_expensive_image_fails_alone(triton: TritonServer) -> None:
    """A BMP of 1,100 bytes for which Pillow needs a second of Python; `strict_decoder` grants 0.2 s."""
    stubs = children(triton.pid)
    async with tritonclient.grpc.aio.InferenceServerClient(triton.grpc_url) as client:
        bomb = bmp_row_of_zeros(13_000_000)
        bombs = [asyncio.ensure_future(infer(client, [bomb], "strict_decoder")) for _ in range(3)]
        for _ in range(20):
            assert (await infer(client, [flat(GREEN)], "strict_decoder"))[0, 0, 0].tolist() == list(GREEN)
        for task in bombs:
            with pytest.raises(InferenceServerException, match=r"too_expensive: decoding it takes more than 0.2 s"):
                await task
        pixels = await infer(client, [flat(GREEN, "GIF")], "strict_decoder")
        assert np.abs(pixels[0, 0, 0].astype(int) - GREEN).max() < 10
    assert children(triton.pid) == stubs
