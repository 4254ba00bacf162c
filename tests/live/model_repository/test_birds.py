"""The ensemble seen by a plain Triton client: HTTP and gRPC, single images and batches, good and bad images."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from tests.support.images import BLUE, GREEN, GREY, RED, flat
from tests.support.tiny_model import LABELS
from tools.serve.triton_process import TritonServer

PROTOCOLS = {"http": tritonclient.http, "grpc": tritonclient.grpc}


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> Any:
    return PROTOCOLS[request.param]


def infer(triton: TritonServer, protocol: Any, images: list[bytes], class_count: int = 0, model: str = "birds") -> Any:
    """Classify with NVIDIA's client library, as a user would."""
    address = triton.grpc_url if protocol is tritonclient.grpc else triton.http_url.removeprefix("http://")
    tensor = protocol.InferInput("IMAGE", [len(images), 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[image] for image in images], dtype=np.object_))
    output = protocol.InferRequestedOutput("PROBABILITIES", class_count=class_count)
    client = protocol.InferenceServerClient(address)
    try:
        return client.infer(model, [tensor], outputs=[output]).as_numpy("PROBABILITIES")
    finally:
        client.close()


def test_returns_one_probability_per_label(triton: TritonServer, protocol: Any) -> None:
    probabilities = infer(triton, protocol, [flat(RED)])
    assert probabilities.shape == (1, len(LABELS))
    assert probabilities.dtype == np.float32
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert probabilities.argmax() == 0


def test_returns_best_labels_for_class_count(triton: TritonServer, protocol: Any) -> None:
    entries = infer(triton, protocol, [flat(BLUE, "JPEG")], class_count=2)
    score, index, label = entries.flat[0].decode().split(":", 2)
    assert entries.size == 2
    assert (int(index), label) == (2, LABELS[2])
    assert 0 < float(score) <= 1


def test_batch_rows_match_their_images(triton: TritonServer, protocol: Any) -> None:
    probabilities = infer(triton, protocol, [flat(GREEN), flat(GREY), flat(BLUE, "GIF"), flat(RED, "BMP")])
    assert probabilities.argmax(axis=1).tolist() == [1, 3, 2, 0]


def test_accepts_a_file_as_plain_http_body(triton: TritonServer) -> None:
    request = urllib.request.Request(
        f"{triton.http_url}/v2/models/birds/infer",
        data=flat(GREEN, "JPEG"),
        headers={"Inference-Header-Content-Length": "0", "Content-Type": "application/octet-stream"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        header_length = int(response.headers["Inference-Header-Content-Length"])
        body = response.read()
    assert json.loads(body[:header_length])["outputs"][0]["name"] == "PROBABILITIES"
    assert np.frombuffer(body[header_length:], np.float32).argmax() == 1


@pytest.mark.parametrize(
    ("image", "code"),
    [
        pytest.param(b"<html>not found</html>", "not_an_image", id="a web page"),
        pytest.param(b"", "not_an_image", id="nothing"),
        pytest.param(flat(RED, "JPEG")[:300], "not_an_image", id="a truncated file"),
        pytest.param(b"8BPS\x00\x01" + bytes(40), "unsupported_format", id="a Photoshop file"),
    ],
)
def test_error_message_starts_with_a_code(triton: TritonServer, protocol: Any, image: bytes, code: str) -> None:
    with pytest.raises(InferenceServerException, match=rf"^(\[.*\] )?in ensemble 'birds', {code}: ") as refused:
        infer(triton, protocol, [image])
    assert refused.value.status() in ("400", "StatusCode.INVALID_ARGUMENT")


def test_tensorflow_and_openvino_agree(triton: TritonServer) -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (5, 60, 50, 3), dtype=np.uint8)
    answers = {}
    with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as client:
        for model in ("classifier", "classifier_on_tensorflow"):
            tensor = tritonclient.grpc.InferInput("pixels", list(pixels.shape), "UINT8")
            tensor.set_data_from_numpy(pixels)
            answers[model] = client.infer(model, [tensor]).as_numpy("probabilities")
    assert np.allclose(answers["classifier"], answers["classifier_on_tensorflow"], atol=1e-5)
    log = triton.log.read_text()
    assert "classifier_0_0: " in log
    assert "runs on openvino" in log
    assert "runs on tensorflow" in log
