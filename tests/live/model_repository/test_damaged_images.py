"""The metric that counts damaged images, over reloads of the model and at the end of the server."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import tritonclient.grpc

from tests.support.images import RED, encoded, flat, halves
from tests.support.metrics import samples
from tests.support.model_repository import copy_templates, install_classifier
from tests.support.tiny_model import LABELS
from tools.serve.ports import free_triton_ports
from tools.serve.triton_process import TritonServer
from tools.triton.control import TritonControl
from tools.triton.settings import TritonSettings

IN_PROCESS = flat(RED, "JPEG", (400, 400))[:-2]  # without its end marker; decoded in Triton's own process
IN_WORKER = encoded(halves(RED, RED), "WEBP", icc_profile=b"nothing")
ROUNDS = 20


def damaged(triton: TritonServer) -> dict[str, float]:
    """The counters by kind, all processes together."""
    text = httpx.get(f"http://127.0.0.1:{triton.ports.metrics}/metrics", timeout=30).text
    counts: dict[str, float] = {}
    for (name, labels), value in samples(text).items():
        if name == "birds_damaged_images_total":
            kind = dict(labels)["kind"]
            counts[kind] = counts.get(kind, 0) + value
    return counts


def classify_damaged(triton: TritonServer) -> None:
    def classify(image: bytes) -> None:
        tensor = tritonclient.grpc.InferInput("IMAGE", [1, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[image]], dtype=np.object_))
        client.infer("birds_v1", [tensor])

    with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as client, ThreadPoolExecutor(4) as threads:
        list(threads.map(classify, [IN_PROCESS, IN_WORKER, flat(RED)] * ROUNDS))


def test_metric_survives_reloads_of_the_model(tiny_savedmodel: Path, tmp_path: Path) -> None:
    """Triton crashes if two processes share a metric and the first one ends (server #8663)."""
    repository = tmp_path / "models"
    copy_templates(repository)
    install_classifier(repository, tiny_savedmodel, LABELS)
    settings = TritonSettings(preprocess_instances=2)
    with TritonServer(free_triton_ports(), tmp_path / "log", repository, settings=settings) as triton:
        triton.wait_until_ready()
        pid = triton.pid
        classify_damaged(triton)
        expected = {"cut_short": ROUNDS, "profile": ROUNDS, "checksum": 0, "metadata_too_large": 0}
        assert damaged(triton) == expected
        os.utime(repository / "preprocess" / "1" / "model.py")
        TritonControl(triton.http_url).load("preprocess")
        classify_damaged(triton)
        assert damaged(triton)["profile"] >= ROUNDS  # Triton ends the old processes later, and their counters with them
        assert triton.pid == pid
        assert TritonControl(triton.http_url).is_running()
