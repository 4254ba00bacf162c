"""Hostile bytes sent to Triton's own ports fail their own request only, and every process survives."""

from __future__ import annotations

import http.client
import json
import struct
from collections.abc import Iterator
from urllib.parse import urlsplit

import grpc
import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from tests.support.hostile_images import BOMBS, SHREDDED
from tests.support.images import GREEN, RED, flat
from tests.support.processes import children
from tools.serve.triton_process import TritonServer

GOOD = flat(RED)


def element(data: bytes) -> bytes:
    """A BYTES element in Triton's wire format."""
    return struct.pack("<I", len(data)) + data


def over_http(triton: TritonServer, shape: list[int], raw: bytes, model: str = "birds") -> tuple[int, str]:
    """Post a raw binary tensor; the client library would refuse to send most of these."""
    tensor = {"name": "IMAGE", "shape": shape, "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
    header = json.dumps({"inputs": [tensor]}).encode()
    return post(triton, header + raw, {"Inference-Header-Content-Length": str(len(header))}, model)


def post(triton: TritonServer, body: bytes, headers: dict[str, str], model: str = "birds") -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(triton.http_url).netloc, timeout=20)
    try:
        connection.request("POST", f"/v2/models/{model}/infer", body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    finally:
        connection.close()


def over_grpc(triton: TritonServer, shape: list[int], raw: bytes, model: str = "birds") -> grpc.StatusCode:
    request = service_pb2.ModelInferRequest(model_name=model, raw_input_contents=[raw])
    request.inputs.add(name="IMAGE", datatype="BYTES", shape=shape)
    with grpc.insecure_channel(triton.grpc_url) as channel:
        try:
            service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=20)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


@pytest.fixture
def unharmed(triton: TritonServer) -> Iterator[None]:
    """After the test, check that the same processes still run and still answer."""
    before = children(triton.pid)
    assert before
    yield
    assert over_http(triton, [1, 1], element(GOOD))[0] == 200
    assert over_grpc(triton, [1, 1], element(GOOD)) is grpc.StatusCode.OK
    assert children(triton.pid) == before  # the Python models' stubs


MALFORMED = {
    "length prefix too long": ([1, 1], struct.pack("<I", len(GOOD) + 1000) + GOOD),
    "length prefix of 4 GB": ([1, 1], b"\xff\xff\xff\xff" + GOOD),
    "length prefix too short": ([1, 1], struct.pack("<I", 5) + GOOD),
    "no length prefix": ([1, 1], GOOD),
    "no bytes": ([1, 1], b""),
    "half a length prefix": ([1, 1], b"\x01\x00\x00"),
    "no elements": ([0, 1], b""),
    "no elements in a row": ([1, 0], b""),
    "two elements for one": ([1, 1], element(GOOD) * 2),
    "one element for two": ([2, 1], element(GOOD)),
    "two elements in a row": ([1, 2], element(GOOD) * 2),
    "no batch dimension": ([1], element(GOOD)),
    "no shape": ([], element(GOOD)),
    "a batch of minus one": ([-1, 1], element(GOOD)),
    "a batch beyond the limit": ([17, 1], element(GOOD) * 17),
    "a product that overflows": ([2**62, 4], element(GOOD)),
}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("model", ["birds", "preprocess"])
@pytest.mark.parametrize("case", MALFORMED)
def test_refuses_malformed_tensor(triton: TritonServer, case: str, model: str) -> None:
    shape, raw = MALFORMED[case]
    assert over_http(triton, shape, raw, model)[0] in (400, 500)
    assert over_grpc(triton, shape, raw, model) is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("batch", [0, 2**32 + 1, 2**62])
def test_misread_batch_size_is_harmless(triton: TritonServer, batch: int) -> None:
    """Triton keeps the low 32 bits of the batch size and treats 0 as 1, so one element is one image."""
    assert over_http(triton, [batch, 1], element(GOOD))[0] == 200
    assert over_grpc(triton, [batch, 1], element(GOOD)) is grpc.StatusCode.OK


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("data", [["x"], [1], [None], ["x", "y"], [], {}, "x", [["x"]], ["\u0000"], ["\ud800"], None])
def test_refuses_images_in_json(triton: TritonServer, data: object) -> None:
    body = {"inputs": [{"name": "IMAGE", "shape": [1, 1], "datatype": "BYTES", "data": data}]}
    assert post(triton, json.dumps(body).encode(), {})[0] in (400, 500)


@pytest.mark.usefixtures("unharmed")
def test_refuses_bombs_with_a_code(triton: TritonServer) -> None:
    for make in (*BOMBS.values(), *SHREDDED.values()):
        status, answer = over_http(triton, [1, 1], element(make()))
        assert status == 400
        assert "too_many_pixels: " in answer or "not_an_image: " in answer
        assert "Traceback" not in answer


@pytest.mark.usefixtures("unharmed")
def test_refuses_file_over_the_size_limit(triton: TritonServer) -> None:
    status, answer = over_http(triton, [1, 1], element(GOOD + bytes(20_000_000)))
    assert status == 400
    assert "too_large: the file has more than 20000000 bytes" in answer


@pytest.mark.usefixtures("unharmed")
def test_image_that_needs_too_much_memory_fails_alone(triton: TritonServer) -> None:
    """The model `strict_decoder` has 100 MB for decoding; this picture needs 250 MB."""
    with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as client:

        def pixels(image: bytes) -> np.ndarray:
            tensor = tritonclient.grpc.InferInput("IMAGE", [1, 1], "BYTES")
            tensor.set_data_from_numpy(np.array([[image]], dtype=np.object_))
            result: np.ndarray = client.infer("strict_decoder", [tensor]).as_numpy("PIXELS")
            return result

        for _ in range(3):
            with pytest.raises(InferenceServerException, match=r"too_expensive: decoding it takes more memory"):
                pixels(flat(GREEN, "PNG", (8000, 6250)))
            assert pixels(flat(GREEN))[0, 0, 0].tolist() == list(GREEN)


@pytest.mark.usefixtures("unharmed")
def test_refuses_file_larger_than_the_decoding_memory(triton: TritonServer) -> None:
    """The stub itself has no memory limit: it would die of one while it receives a request."""
    status, answer = over_http(triton, [1, 1], element(bytes(150_000_000)), "strict_decoder")
    assert status == 400
    assert "not_an_image: " in answer
