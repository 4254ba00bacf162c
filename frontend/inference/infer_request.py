"""An inference request that is serialized for gRPC with a single copy of the image.

protobuf would copy the image three times: with its length prefix into a value, into the message, and out of the
message. That takes 0.40 ms of CPU time for a photo of 134 kB and 7.6 ms for 2.4 MB; a single copy takes 0.02 and
0.33 ms.
"""

from __future__ import annotations

import struct
from typing import Any

from tritonclient.grpc import service_pb2

_INPUT, _OUTPUT = "IMAGE", "PROBABILITIES"
_RAW_INPUT_CONTENTS = b"\x3a"  # the tag of field 7, length-delimited


class InferRequest:
    """A ModelInferRequest for one image. `message` is everything but the image."""

    def __init__(self, model: str, image: bytes, priority: int = 0) -> None:
        """Request the probabilities. `priority` is a priority level of the models' queues; 0 is the default level."""
        self.image = image
        self.message: Any = service_pb2.ModelInferRequest(model_name=model)
        self.message.inputs.add(name=_INPUT, datatype="BYTES", shape=[1, 1])
        self.output: Any = self.message.outputs.add(name=_OUTPUT)
        if priority:
            self.message.parameters["priority"].uint64_param = priority

    @property
    def model(self) -> str:
        name: str = self.message.model_name
        return name

    def to_bytes(self) -> bytes:
        """Return the serialized message. protobuf allows fields in any order, so the image can come last."""
        length = struct.pack("<I", len(self.image))  # as Triton expects it before each value of type BYTES
        size = _varint(len(length) + len(self.image))
        return b"".join((self.message.SerializeToString(), _RAW_INPUT_CONTENTS, size, length, self.image))


def _varint(number: int) -> bytes:
    """Return protobuf's encoding of a number: 7 bits in each byte, the lowest first, and a high bit if more follow."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
