"""Versions are published, rolled back and retired while requests run: none fails, and no answer mixes versions."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from frontend.inference import versions
from frontend.inference.versions import VersionRoute
from frontend.settings import Settings
from tests.support.frontend_server import running_frontend
from tests.support.image_server import ImageServer
from tests.support.images import RED, flat
from tests.support.model_repository import copy_templates, install_classifier
from tests.support.network import LOOPBACK
from tests.support.processes import eventually
from tests.support.savedmodels import mean_colours, save_module
from tests.support.tiny_model import LABELS
from tools.cli.main import main
from tools.models import commands
from tools.serve.ports import free_triton_ports
from tools.serve.triton_process import TritonServer

STRANGE_LABELS = [f"Strange {number}" for number in range(7)]


@dataclass
class Service:
    """A Triton and a frontend of their own, over a repository that tests may change."""

    triton: TritonServer
    log: Path
    repository: Path
    url: str

    def models(self, *arguments: str) -> int:
        """Run `birds models` on it."""
        return main(["models", *arguments, "--repository", str(self.repository), "--triton", self.triton.http_url])

    def default(self) -> str:
        catalogue = httpx.get(f"{self.url}/models", timeout=60).json()
        return str(catalogue["default"])

    def versions(self) -> list[str]:
        return [version["version"] for version in httpx.get(f"{self.url}/models", timeout=60).json()["versions"]]

    def classify(self, images: list[str], **options: object) -> dict[str, Any]:
        answer: dict[str, Any] = httpx.post(f"{self.url}/", json={"images": images, **options}, timeout=60).json()
        return answer


@pytest.fixture(scope="module")
def service(tiny_savedmodel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    repository = tmp_path_factory.mktemp("versions") / "models"
    copy_templates(repository)
    install_classifier(repository, tiny_savedmodel, LABELS)
    log = tmp_path_factory.mktemp("triton") / "triton.log"
    with pytest.MonkeyPatch.context() as patch, TritonServer(free_triton_ports(), log, repository) as triton:
        patch.setattr(versions, "_FRESH_SECONDS", 0.0)  # the frontend sees each change at once
        triton.wait_until_ready()
        settings = Settings(triton_url=triton.grpc_url, download_allow_networks=LOOPBACK)
        with running_frontend(settings) as url:
            yield Service(triton, log, repository, url)


@pytest.fixture(autouse=True)
def only_version_1(service: Service) -> Iterator[None]:
    """Every test begins and ends with version 1 alone."""
    yield
    if service.default() != "1":
        assert service.models("rollback", "--to", "1") == 0
    for version in service.versions():
        if version != "1":
            assert service.models("retire", version) == 0


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that publish a model with another size and other labels. Its answer to any image is `Strange 4`."""
    folder = tmp_path_factory.mktemp("strange")
    save_strange(folder / "model")
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in STRANGE_LABELS))
    return ["--savedmodel", str(folder / "model"), "--labels", str(folder / "labels.txt")]


def save_strange(directory: Path) -> None:
    one_hot = np.eye(7, dtype=np.float32)[4] * 8
    save_module(directory, lambda x: mean_colours(x)[:, :1] * 0 + one_hot, size=(96, 64))


def entry_of(answer: bytes) -> tuple[float, int, str]:
    score, index, label = answer.decode().split(":", 2)
    return float(score), int(index), label


# Red, as each version answers: the score of the best label, its index and its name.
EXPECTED = {"1": (0.957, 0, LABELS[0]), "strange": (0.998, 4, STRANGE_LABELS[4])}


def kind_of(score: float, index: int, label: str) -> str:
    """Which version gave this answer. Fails if its parts belong to different versions."""
    for kind, expected in EXPECTED.items():
        if (index, label) == expected[1:] and score == pytest.approx(expected[0], abs=0.002):
            return kind
    raise AssertionError(f"no version answers {score}:{index}:{label}")


@dataclass
class Load:
    """A steady stream of requests until it is stopped: counts the answers by version, and keeps the failures."""

    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, name: str, ask: Callable[[], str]) -> None:
        while not self.stop.is_set():
            try:
                self.answers[f"{name} {ask()}"] += 1
            except Exception as error:
                self.failures.append(f"{name}: {type(error).__name__}: {error}")
            time.sleep(0.01)


def ask_triton(url: str, model: str = "birds", version: str = "") -> Callable[[], str]:
    client = tritonclient.grpc.InferenceServerClient(url)
    image = tritonclient.grpc.InferInput("IMAGE", [1, 1], "BYTES")
    image.set_data_from_numpy(np.array([[flat(RED)]], dtype=np.object_))
    pixels = tritonclient.grpc.InferInput("pixels", [1, 1, 1, 3], "UINT8")
    pixels.set_data_from_numpy(np.array([[[RED]]], np.uint8))
    name = "probabilities" if model == "classifier" else "PROBABILITIES"
    best = tritonclient.grpc.InferRequestedOutput(name, class_count=1)

    def ask() -> str:
        answer = client.infer(model, [pixels if model == "classifier" else image], version, [best], client_timeout=10)
        return kind_of(*entry_of(answer.as_numpy(name).flat[0]))

    return ask


def ask_frontend(service: Service, image: str) -> Callable[[], str]:
    def ask() -> str:
        answer = service.classify([image], k=1)
        assert answer["errors"] == answer["failures"] == []
        (prediction,) = answer["successful_results"][image]
        labels = {label.partition(" (")[0]: label for label in [*LABELS, *STRANGE_LABELS]}
        label = labels[prediction["bird_name"]]
        kind = kind_of(prediction["score"], (LABELS if label in LABELS else STRANGE_LABELS).index(label), label)
        version = answer["other_versions"].get(image, answer["model_version"])
        assert (kind == "1") == (version == "1")
        return kind

    return ask


def test_publishing_does_not_load_preprocess_again(service: Service, tiny_savedmodel: Path, tmp_path: Path) -> None:
    """The first publish after a start did, because a stub had written model.pyc beside the model."""
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"{label}\n" for label in LABELS))
    loaded = service.log.read_text().count("successfully loaded 'preprocess'")
    assert loaded > 0
    assert service.models("publish", "--savedmodel", str(tiny_savedmodel), "--labels", str(labels)) == 0
    assert service.default() == "2"
    assert service.log.read_text().count("successfully loaded 'preprocess'") == loaded


def test_publish_rollback_and_retire_under_load(
    service: Service, strange: list[str], image_server: ImageServer, capfd: pytest.CaptureFixture[str]
) -> None:
    image = image_server.add("/red.png", flat(RED))
    load = Load()
    defaults = ("frontend", "birds", "birds again")
    streams = {
        "frontend": ask_frontend(service, image),
        "birds": ask_triton(service.triton.grpc_url),
        "birds again": ask_triton(service.triton.grpc_url),
        "classifier 1": ask_triton(service.triton.grpc_url, "classifier", "1"),
    }
    with ThreadPoolExecutor(len(streams)) as threads:
        for name, ask in streams.items():
            threads.submit(load.run, name, ask)
        try:
            assert eventually(lambda: all(load.answers[f"{name} 1"] for name in streams))
            capfd.readouterr()
            assert service.models("publish", *strange, "--json") == 0
            published = json.loads(capfd.readouterr().out)
            assert eventually(lambda: all(load.answers[f"{name} strange"] for name in defaults))
            assert service.default() == str(published["published"])
            assert service.models("rollback") == 0
            assert service.models("retire", str(published["published"])) == 0
            before = load.answers.total()
            assert eventually(lambda: load.answers.total() > before + 100)
        finally:
            load.stop.set()
    assert load.failures == []
    print(f"{load.answers.total()} requests, none failed; {published}")


def test_each_version_answers_with_its_own_labels(
    service: Service, strange: list[str], image_server: ImageServer
) -> None:
    """Through the ensembles and directly, before and after Triton has read the labels of another version."""
    image = image_server.add("/red.png", flat(RED))
    assert service.models("publish", *strange) == 0
    url = service.triton.grpc_url
    for model, version, kind in (
        ("birds", "", "strange"),
        ("birds_v1", "", "1"),
        ("birds_v2", "", "strange"),
        ("classifier", "1", "1"),
        ("classifier", "2", "strange"),
        ("classifier", "", "strange"),
    ):
        assert ask_triton(url, model, version)() == kind, (model, version)
    for named, labels in (("1", LABELS), ("2", STRANGE_LABELS), (None, STRANGE_LABELS)):
        answer = service.classify([image], model_version=named, k=10)
        assert answer["model_version"] == (named or "2")
        assert answer["other_versions"] == {}
        assert len(answer["successful_results"][image]) == len(labels)


def test_models_lists_all_versions(service: Service, strange: list[str]) -> None:
    assert service.models("publish", *strange, "--not-default") == 0
    catalogue = httpx.get(f"{service.url}/models").json()
    assert catalogue["default"] == "1"
    first, second = catalogue["versions"]
    assert first == {
        "version": "1",
        "default": True,
        "labels": 4,
        "source": None,
        "engine": None,
        "published": None,
    }
    assert second["labels"] == 7
    assert second["engine"] == "openvino"
    assert second["source"] == strange[1]
    assert second["published"].endswith("+00:00")


def test_unknown_version_is_listed_in_errors(service: Service) -> None:
    answer = service.classify([], model_version="9")
    assert answer["errors"] == ["No images provided", "There is no model version 9"]
    assert answer["successful_results"] == {}
    response = httpx.post(f"{service.url}/", json={"images": ["x"], "model_version": 1})
    assert response.status_code == 422
    assert response.json()["errors"] == ['model_version must be a string, like "1"']


def test_canary_gets_a_fixed_share_of_urls(service: Service, strange: list[str], image_server: ImageServer) -> None:
    assert service.models("publish", *strange, "--not-default") == 0
    urls = [image_server.add(f"/{number}.png", flat(RED)) for number in range(100)]
    settings = Settings(
        triton_url=service.triton.grpc_url,
        download_allow_networks=LOOPBACK,
        canary_version="2",
        canary_percent=30,
    )
    with running_frontend(settings) as url:
        canaried = Service(service.triton, service.log, service.repository, url)
        first = canaried.classify(urls)
        assert first["model_version"] == "1"
        # Which ones depends on the image server's port, and so how many: exact, where bounds would fail by chance.
        rule = VersionRoute("1", canary="2", canary_percent=30)
        assert set(first["other_versions"]) == {image for image in urls if rule.of(image) == "2"}
        assert 15 <= sum(rule.of(f"http://example.org/{number}.png") == "2" for number in range(100)) <= 45
        assert set(first["other_versions"].values()) == {"2"}
        for image, (best, *_) in first["successful_results"].items():
            assert best["bird_name"].startswith("Strange" if image in first["other_versions"] else "Rubra")
        assert canaried.classify(urls[::-1])["other_versions"] == first["other_versions"]
        assert canaried.classify(urls, model_version="1")["other_versions"] == {}
        counted = httpx.get(f"{url}/metrics").text
        canary = float(counted.partition('birds_images_total{model_version="2",outcome="ok"} ')[2].partition("\n")[0])
        assert canary == 2 * len(first["other_versions"])
        assert httpx.get(f"{url}/models").json()["canary"] == {"2": 30.0}


def test_pixels_of_wrong_size_are_refused(service: Service, strange: list[str]) -> None:
    assert service.models("publish", *strange) == 0
    with tritonclient.grpc.InferenceServerClient(service.triton.grpc_url) as client:
        pixels = tritonclient.grpc.InferInput("pixels", [1, 5, 5, 3], "UINT8")
        pixels.set_data_from_numpy(np.zeros((1, 5, 5, 3), np.uint8))
        with pytest.raises(InferenceServerException, match=r"wrong_shape: 'pixels' is \[1, 5, 5, 3\]") as refused:
            client.infer("classifier", [pixels], "2")
    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_version_refused_by_triton_changes_nothing(
    service: Service, strange: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The checks of the build are skipped, so that Triton has to find the problem."""

    def build(directory: Path, *_: object) -> None:
        save_module(directory / "model.savedmodel", mean_colours, input_name="picture")
        (directory / "labels.txt").write_text("a\nb\nc\n")

    monkeypatch.setattr(commands, "build_version", build)
    before = {path: path.read_bytes() for path in service.repository.rglob("*") if path.is_file()}
    assert service.models("publish", *strange) == 1
    assert "the SavedModel's signature has 'picture'" in capfd.readouterr().err
    assert ask_triton(service.triton.grpc_url)() == "1"
    after = {path: path.read_bytes() for path in service.repository.rglob("*") if path.is_file()}
    assert after == before
    assert service.versions() == ["1"]
    with pytest.raises(InferenceServerException):
        ask_triton(service.triton.grpc_url, "classifier", "2")()


def test_default_survives_a_restart(service: Service, strange: list[str], tmp_path: Path) -> None:
    assert service.models("publish", *strange) == 0
    assert service.models("rollback") == 0
    with TritonServer(free_triton_ports(), tmp_path / "log", service.repository) as again:
        again.wait_until_ready()
        assert ask_triton(again.grpc_url)() == "1"
        assert ask_triton(again.grpc_url, "classifier", "2")() == "strange"
