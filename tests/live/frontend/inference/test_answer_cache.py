"""Repeated images are answered from the frontend's memory; Triton itself remembers no answer."""

from __future__ import annotations

import httpx

from frontend.settings import Settings
from tests.support.frontend_server import running_frontend
from tests.support.image_server import ImageServer
from tests.support.images import encoded, halves
from tests.support.network import LOOPBACK
from tools.serve.triton_process import TritonServer
from tools.triton.statistics import between, read_statistics

PHOTO = encoded(halves((12, 34, 56), (78, 90, 12)), "JPEG")  # no other test sends this photo
STEPS = ("preprocess", "classifier")


def test_repeated_image_costs_triton_nothing(
    frontend: httpx.Client, triton: TritonServer, image_server: ImageServer
) -> None:
    url, again = (image_server.add(path, PHOTO) for path in ("/first.jpg", "/second.jpg"))
    first = frontend.post("/", json={"images": [url], "k": 1}).json()
    before = read_statistics(triton.grpc_url)
    second = frontend.post("/", json={"images": [again], "k": 3}).json()
    counts = between(before, read_statistics(triton.grpc_url))
    assert not any(counts[step].executions for step in STEPS if step in counts)
    assert second["successful_results"][again][:1] == first["successful_results"][url]
    assert len(second["successful_results"][again]) == 3


def test_cache_can_be_turned_off(triton: TritonServer, image_server: ImageServer) -> None:
    settings = Settings(triton_url=triton.grpc_url, download_allow_networks=LOOPBACK, answer_cache_bytes=0)
    url = image_server.add("/photo.jpg", PHOTO)
    with running_frontend(settings) as base_url, httpx.Client(base_url=base_url, timeout=30) as client:
        answers = []
        before = read_statistics(triton.grpc_url)
        for _ in range(2):
            answers.append(client.post("/", json={"images": [url]}).json()["successful_results"])
        counts = between(before, read_statistics(triton.grpc_url))
    assert answers[0] == answers[1]
    assert counts["birds_v1"].inferences == 3  # both images, and the question for the labels
    assert counts["birds_v1"].cache_hits == 0
