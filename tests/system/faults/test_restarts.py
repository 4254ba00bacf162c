"""Changes that an operator makes before or during a restart survive it."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.support.processes import eventually
from tests.support.service import Service, ends_with_nothing_left, serving
from tools.cli.main import main
from tools.models import publishing
from tools.models.repository import savedmodel_path
from tools.triton import control_key
from tools.triton.control import TritonControl


@pytest.mark.parametrize(
    "delay", [0, pytest.param(0.5, marks=pytest.mark.slow), pytest.param(1.5, marks=pytest.mark.slow)]
)
def test_stopped_while_triton_is_started_again(project: Path, delay: float) -> None:
    with serving(project) as service:
        (triton,) = service.named("bin/tritonserver")
        os.kill(triton, signal.SIGKILL)
        assert eventually(lambda: service.named("bin/tritonserver") not in ([], [triton]))
        time.sleep(delay)
        assert ends_with_nothing_left(service, signal.SIGINT)


def test_changes_during_a_restart_survive(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = service.project / "model_repository"
    monkeypatch.setattr(control_key, "KEYS", service.project / ".cache" / "control")
    running = TritonControl(service.triton_url)

    def build(directory: Path) -> None:
        shutil.copytree(savedmodel_path(repository), directory / "model.savedmodel")
        (directory / "labels.txt").write_text("Owl\nOwl 2\nOwl 3\nOwl 4\n")

    (triton,) = service.named("bin/tritonserver")
    os.kill(triton, signal.SIGKILL)
    assert eventually(lambda: service.named("bin/tritonserver") not in ([], [triton]))
    assert not running.is_running()
    publishing.publish(repository, build)
    assert eventually(lambda: catalogue(service) == ("2", ["1", "2"]))
    assert eventually(lambda: "birds_v2" in {name for name, _ in running.ready()})
    running.probe("birds_v2")

    answers = iter([False])
    with monkeypatch.context() as coming_up:  # between the two looks that the command takes
        coming_up.setattr(TritonControl, "is_running", lambda *_: next(answers, True))
        assert main(["models", "rollback", f"--repository={repository}", f"--triton={service.triton_url}"]) == 0
    assert eventually(lambda: catalogue(service) == ("1", ["1", "2"]))
    said = len(service.lines)
    os.kill(service.named("bin/tritonserver")[0], signal.SIGKILL)
    service.wait_for("Triton: back after", since=said)
    assert eventually(lambda: catalogue(service) == ("1", ["1", "2"]))
    publishing.retire(repository, 2, running)
    assert eventually(lambda: catalogue(service) == ("1", ["1"]))


def catalogue(service: Service) -> tuple[str, list[str]]:
    """The default version, and all that are served, as a client is told."""
    answer = httpx.get(f"{service.url}/models", timeout=60).json()
    if "default" not in answer:  # Triton is starting again
        return "", []
    return answer["default"], sorted(version["version"] for version in answer["versions"])
