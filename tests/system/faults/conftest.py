"""The whole service under checked load, for faults to be injected into."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.image_server import ImageServer
from tests.support.images import BLUE, GREEN, RED, flat
from tests.support.service import Service, make_project, serving
from tests.support.tiny_model import LABELS
from tools.measure.soak.checked_load import Case, CheckedLoad

REQUEST_TIMEOUT_SECONDS = 15
Record = Callable[[str, CheckedLoad, float], None]


@pytest.fixture(scope="package")
def project(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("faults") / "project", tiny_repository)


@pytest.fixture(scope="package")
def service(project: Path) -> Iterator[Service]:
    """One service for all faults: each must leave it as good as it was."""
    with serving(
        project,
        BIRDS_REQUEST_TIMEOUT=str(REQUEST_TIMEOUT_SECONDS),
        BIRDS_DOWNLOAD_TIMEOUT="2",
        BIRDS_PREPROCESS_INSTANCES="2",
    ) as service:
        yield service


@pytest.fixture
def cases(image_server: ImageServer) -> list[Case]:
    """Good and bad images on an image server that is well."""
    return [
        *(Case(image_server.add(f"/{name}", image), bird=bird) for name, (image, bird) in good_images().items()),
        Case(image_server.add("/page", b"<html>no bird</html>"), code="not_an_image"),
        Case(image_server.url("/nowhere"), code="download_failed"),
    ]


def good_images() -> dict[str, tuple[bytes, str]]:
    """Files by name, with the bird that each shows."""
    colours = {"red": RED, "green": GREEN, "blue": BLUE}
    return {
        f"{name}-{index}.jpg": (flat(colour, "JPEG", (320, 240 + index)), label.partition(" (")[0])
        for index in range(4)
        for (name, colour), label in zip(colours.items(), LABELS, strict=False)
    }


@contextmanager
def under_load(url: str, cases: list[Case], clients: int = 8, **headers: str) -> Iterator[CheckedLoad]:
    """Checked load that is in full service when this is entered, and whose every answer was documented and in time."""
    load = CheckedLoad(f"{url}/", cases, clients=clients, deadline_seconds=REQUEST_TIMEOUT_SECONDS, headers=headers)
    with load:
        load.wait_for_complete(20, since=time.monotonic(), timeout_seconds=60)
        yield load
    assert load.faults() == []


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Note how long a fault lasted for users and what they saw: a line of JSON in the file BIRDS_FAULTS_RECORD."""

    def note(fault: str, load: CheckedLoad, injected_at: float) -> None:
        row = {
            "fault": fault,
            "seconds_to_recover": round(max(load.recovered_at() - injected_at, 0), 1),
            "answers": dict(load.verdicts(injected_at)),
            "codes": dict(load.codes()),
            "test": request.node.nodeid,
        }
        print(json.dumps(row))
        if path := os.environ.get("BIRDS_FAULTS_RECORD"):
            with Path(path).open("a") as file:
                file.write(json.dumps(row) + "\n")

    return note
