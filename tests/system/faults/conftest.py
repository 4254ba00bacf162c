"""The whole service under checked load, into which tests inject faults."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checked_load import CheckedLoad
from tests.support.faults import REQUEST_TIMEOUT_SECONDS, Record, good_images
from tests.support.image_server import ImageServer
from tests.support.service import Service, make_project, serving
from tools.measure.soak.answers import Case


@pytest.fixture(scope="package")
def project(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("faults") / "project", tiny_repository)


@pytest.fixture(scope="package")
def service(project: Path) -> Iterator[Service]:
    """One service for all faults. After each test it must be in full service again."""
    with serving(
        project,
        BIRDS_REQUEST_TIMEOUT=str(REQUEST_TIMEOUT_SECONDS),
        BIRDS_DOWNLOAD_TIMEOUT="2",
        BIRDS_PREPROCESS_INSTANCES="2",
        BIRDS_ANSWER_CACHE_BYTES="0",  # the few images must reach Triton each time
    ) as service:
        yield service


@pytest.fixture
def cases(image_server: ImageServer) -> list[Case]:
    """Good and bad images on an image server that works."""
    return [
        *(Case(image_server.add(f"/{name}", image), bird=bird) for name, (image, bird) in good_images().items()),
        Case(image_server.add("/page", b"<html>no bird</html>"), code="not_an_image"),
        Case(image_server.url("/nowhere"), code="download_failed"),
    ]


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
