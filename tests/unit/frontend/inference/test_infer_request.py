"""InferRequest serializes itself to the message that protobuf would make."""

from __future__ import annotations

import struct

import pytest
from tritonclient.grpc import service_pb2

from frontend.inference.infer_request import InferRequest


@pytest.mark.parametrize("size", [0, 1, 123, 124, 16_379, 16_380, 2_500_000])
def test_parses_as_the_message_of_protobuf(size: int) -> None:
    """The sizes lie on both sides of the limits at which the encoded length grows by a byte."""
    image = bytes(range(256)) * (size // 256) + bytes(size % 256)
    request = InferRequest("birds", image, priority=2)
    request.message.id = "one"
    request.message.parameters["timeout"].int64_param = 1_000
    expected = service_pb2.ModelInferRequest(model_name="birds", id="one")
    expected.inputs.add(name="IMAGE", datatype="BYTES", shape=[1, 1])
    expected.outputs.add(name="PROBABILITIES")
    expected.parameters["priority"].uint64_param = 2
    expected.parameters["timeout"].int64_param = 1_000
    expected.raw_input_contents.append(struct.pack("<I", size) + image)
    assert service_pb2.ModelInferRequest.FromString(request.to_bytes()) == expected
