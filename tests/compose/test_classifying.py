"""Every way in that docs/deployment.md names gives the same species for a photo."""

from __future__ import annotations

import httpx
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from tests.compose.service import Service
from tools.measure.soak.answers import Case


@pytest.mark.parametrize(
    ("client", "protocol"), [(tritonclient.http, "http"), (tritonclient.grpc, "grpc")], ids=["http", "grpc"]
)
def test_triton_and_frontends_give_equal_answers(
    service: Service, cases: list[Case], images: dict[str, bytes], client: object, protocol: str
) -> None:
    address = f"127.0.0.1:{getattr(service.triton_ports, protocol)}"
    triton = client.InferenceServerClient(address)  # type: ignore[attr-defined]
    try:
        for case, photo in zip(cases, images.values(), strict=True):
            image = client.InferInput("IMAGE", [1, 1], "BYTES")  # type: ignore[attr-defined]
            image.set_data_from_numpy(np.array([[photo]], dtype=np.object_))
            labels = client.InferRequestedOutput("PROBABILITIES", class_count=1)  # type: ignore[attr-defined]
            (best,) = triton.infer("birds", [image], outputs=[labels]).as_numpy("PROBABILITIES")[0]
            assert case.bird is not None
            assert case.bird in best.decode()
    finally:
        triton.close()


def test_uploads_are_classified_through_haproxy(service: Service, cases: list[Case], images: dict[str, bytes]) -> None:
    files = [("files", (name, content)) for name, content in images.items()]
    answer = httpx.post(f"{service.url}files", files=files, timeout=60).json()
    assert {name: found[0]["bird_name"] for name, found in answer["successful_results"].items()} == {
        name: case.bird for name, case in zip(images, cases, strict=True)
    }


def test_default_weights_are_used_where_available(service: Service) -> None:
    models = httpx.get(f"{service.url}models", timeout=30).json()
    mirror = service.engine.environment.get("BIRDS_MODEL_MIRROR_FOLDER")
    (version,) = models["versions"]
    if mirror:
        assert version["source"] == "aiy-birds-v1"
    else:
        assert version["source"] in ("aiy-birds-v1", "imagenet-birds")


def test_tritons_own_metrics_are_published(service: Service) -> None:
    assert (
        "nv_inference_request_success"
        in httpx.get(f"http://127.0.0.1:{service.triton_ports.metrics}/metrics", timeout=30).text
    )
