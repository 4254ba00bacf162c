"""An image that was seen before is answered from Triton's cache: nothing is decoded or computed again."""

from __future__ import annotations

import os
from pathlib import Path

import httpx

from tests.support.image_server import ImageServer
from tests.support.images import encoded, halves
from tools.models.live_config import ensemble_of, write_ensembles_of
from tools.models.repository import read_versions, savedmodel_path
from tools.serve.triton_process import TritonServer
from tools.triton.statistics import between, read_statistics

PHOTO = encoded(halves((12, 34, 56), (78, 90, 12)), "JPEG")  # like no other test's


def test_a_repeated_image_is_answered_without_work_however_many_labels_are_asked_for(
    frontend: httpx.Client, triton: TritonServer, image_server: ImageServer
) -> None:
    url, again = (image_server.add(path, PHOTO) for path in ("/first.jpg", "/second.jpg"))
    first = frontend.post("/", json={"images": [url], "k": 1}).json()
    before = read_statistics(triton.grpc_url)
    second = frontend.post("/", json={"images": [again], "k": 3}).json()
    counts = between(before, read_statistics(triton.grpc_url))
    assert counts["birds_v1"].cache_hits == 1
    assert not any(counts[step].executions for step in ("preprocess", "classifier") if step in counts)
    assert second["successful_results"][again][:1] == first["successful_results"][url]
    assert len(second["successful_results"][again]) == 3


def test_what_probes_ask_is_never_answered_from_the_cache(triton: TritonServer, frontend: httpx.Client) -> None:
    for _ in range(2):
        before = read_statistics(triton.grpc_url)
        assert frontend.get("/health/ready").status_code == 200
        assert sum(model.cache_hits for model in between(before, read_statistics(triton.grpc_url)).values()) == 0


def test_a_number_that_is_given_anew_has_an_ensemble_of_another_version(tiny_repository: Path, tmp_path: Path) -> None:
    """The cache outlives a reload and knows answers by the ensemble's name and version."""
    repository = tmp_path / "models"
    for part in ("birds", "preprocess"):
        (repository / part).mkdir(parents=True)
        (repository / part / "config.pbtxt").write_bytes((tiny_repository / part / "config.pbtxt").read_bytes())
    graph = savedmodel_path(repository) / "saved_model.pb"
    graph.parent.mkdir(parents=True)
    graph.touch()
    versions = []
    for built_at in (1_700_000_000, 1_700_000_100):
        os.utime(graph, (built_at, built_at))
        write_ensembles_of(repository, read_versions(repository))
        versions.append([path.name for path in (repository / ensemble_of(1)).iterdir() if path.is_dir()])
    assert versions == [["1700000000"], ["1700000100"]]
