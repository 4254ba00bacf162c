"""One Docker engine, one build and one service for all of these tests."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.compose import base_images
from tests.compose.engine import Engine, engine
from tests.compose.service import Service, image_bytes, leftovers
from tests.support.image_server import ImageServer
from tests.support.images import BLUE, GREEN, RED, flat
from tools.measure.soak.answers import Case

_FIGURES: list[str] = []
NETWORK = "10.201.58"  # not the default, which a running service may use
_MIRROR = os.environ.get("BIRDS_MODEL_MIRROR", "")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.compose)


def record(figure: str) -> None:
    """Have a measured figure shown at the end of the run."""
    _FIGURES.append(figure)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for figure in _FIGURES:
        terminalreporter.write_line(figure)


Say = Callable[[str], None]


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Say:
    """Prints the progress of slow steps, although pytest captures output."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def tell(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"compose: {text}", flush=True)

    return tell


@pytest.fixture(scope="session")
def docker(say: Say) -> Iterator[Engine]:
    say("starting a Docker engine, if there is none …")
    with engine() as running:
        if running.own:
            started = time.monotonic()
            say("making base images of Debian and the Triton wheel …")
            base_images.make(running)
            record(f"base images: {time.monotonic() - started:.0f} s")
        yield running
        assert leftovers(running) == ""


@pytest.fixture(scope="session")
def service(docker: Engine, say: Say) -> Iterator[Service]:
    """Everything in docker-compose.yml, built and healthy."""
    is_url = "://" in _MIRROR
    settings = {
        "BIRDS_MODEL_MIRROR": _MIRROR if is_url else "",
        "BIRDS_MODEL_MIRROR_FOLDER": "" if is_url else _MIRROR,
        "BIRDS_NETWORK": NETWORK,
        "BIRDS_TRUSTED_PROXIES": f"{NETWORK}.129",  # this machine
        "BIRDS_DOWNLOAD_ALLOW_NETWORKS": f"{NETWORK}.0/24",  # this machine serves the images
        "BIRDS_ANSWER_CACHE_BYTES": "0",
    }
    running = Service(docker, settings)
    try:
        say("building the images (1 GB to fetch, some minutes the first time) …")
        started = time.monotonic()
        running.compose("build", timeout_seconds=1500)
        record(f"docker compose build: {time.monotonic() - started:.0f} s")
        for image in ("birds-frontend", "birds-triton", "birds-model-builder"):
            record(f"{image}: {image_bytes(docker, image) / 1e6:.0f} MB")
        say("docker compose up --build --wait …")
        started = time.monotonic()
        try:
            running.compose("up", "--build", "--wait", "--detach")
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{running.logs()}") from error
        record(f"docker compose up --wait, model built: {time.monotonic() - started:.0f} s")
        yield running
    finally:
        running.down()


@pytest.fixture(scope="session")
def images() -> dict[str, bytes]:
    """A few photos if there are any, otherwise generated images."""
    folders = [Path(folder) for folder in os.environ.get("BIRDS_TEST_PHOTOS", "").split(os.pathsep) if folder]
    paths = sorted(path for folder in folders for path in folder.glob("*.jpg"))[:12]
    if paths:
        return {path.name: path.read_bytes() for path in paths}
    return {f"{name}.png": flat(colour) for name, colour in (("red", RED), ("green", GREEN), ("blue", BLUE))}


@pytest.fixture(scope="session")
def hosted(service: Service, images: dict[str, bytes]) -> Iterator[list[str]]:
    """URLs of the images, on this machine's address in the frontends' network."""
    with ImageServer(service.gateway("outer")) as server:
        yield [server.add(f"/{name}", content) for name, content in images.items()]


@pytest.fixture(scope="session")
def cases(service: Service, hosted: list[str]) -> list[Case]:
    """Each image with the answer of the undisturbed service, which must not change when something breaks."""
    import httpx

    answer = httpx.post(service.url, json={"images": hosted, "k": 1}, timeout=60).json()
    assert answer["failures"] == []
    return [Case(url, bird=answer["successful_results"][url][0]["bird_name"]) for url in hosted]
