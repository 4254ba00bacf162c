"""What tells a Triton that is busy from one that is broken, seen on a real one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.model_repository import copy_templates, install_classifier
from tests.support.processes import command_line, descendants, eventually
from tests.support.tiny_model import LABELS
from tools.serve import triton_health
from tools.serve.ports import free_triton_ports
from tools.serve.triton_health import TritonHealth, instances
from tools.serve.triton_process import TritonServer
from tools.triton.control import ControlError, TritonControl
from tools.triton.settings import TritonSettings


@pytest.fixture
def triton(tiny_savedmodel: Path, tmp_path: Path) -> Iterator[TritonServer]:
    repository = tmp_path / "models"
    copy_templates(repository)
    install_classifier(repository, tiny_savedmodel, LABELS)
    settings = TritonSettings(preprocess_instances=2)
    with TritonServer(free_triton_ports(), tmp_path / "log", repository, settings=settings) as server:
        server.wait_until_ready()
        yield server


def stub(triton: TritonServer, instance: str) -> int:
    return next(pid for pid in descendants(triton.pid) if f" {instance} " in command_line(pid))


def test_one_of_several_processes_is_missed_at_once_and_one_that_was_unloaded_is_not(triton: TritonServer) -> None:
    control = TritonControl(triton.http_url)
    health = TritonHealth(triton.pid, control)
    assert {instance.name for instance in instances(triton.pid)} == {
        "preprocess_0_0",
        "preprocess_0_1",
        "classifier_0_0",
    }
    assert (health.lost_process(), health.failing_inference(), health.not_live()) == (None, None, None)
    os.kill(stub(triton, "preprocess_0_1"), signal.SIGKILL)
    assert eventually(lambda: health.lost_process() is not None, 5)
    assert health.lost_process() == "instance preprocess_0_1 of version 1 has lost its process"
    control.unload("birds_v1")
    control.unload("birds")
    control.unload("preprocess")
    assert eventually(lambda: health.lost_process() is None)
    assert health.failing_inference() is not None, "nobody can be served"


def test_a_process_that_hangs_is_noticed(triton: TritonServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its silence, or by Triton, which takes a process that does not move for dead after about a second."""
    monkeypatch.setattr(triton_health, "_STUCK_AFTER_SECONDS", 1)
    control = TritonControl(triton.http_url)
    health = TritonHealth(triton.pid, control)
    classifier = stub(triton, "classifier_0_0")
    control.probe("birds_v1")
    os.kill(classifier, signal.SIGSTOP)
    try:
        with pytest.raises(ControlError):
            control.probe("birds_v1", 1)  # the cache does not answer, which knows the images of before
        failure = str(health.failing_inference())
        assert "does not answer" in failure or "is not healthy" in failure
        assert health.not_live() is None
    finally:
        os.kill(classifier, signal.SIGCONT)


class BusyControl(TritonControl):
    """A Triton that has no time for a probe, but for others: too much load to make here in little time."""

    finished = 0

    def probe(self, ensemble: str, timeout_seconds: float = 10) -> None:
        raise ControlError("it does not answer")

    def ready(self) -> set[tuple[str, str]]:
        return {("birds", "1")}

    def work_done(self) -> dict[str, int]:
        self.finished += 4
        return {"preprocess": self.finished, "classifier": self.finished}


def test_to_be_busy_with_others_is_no_failure() -> None:
    assert TritonHealth(os.getpid(), BusyControl("http://127.0.0.1:1")).failing_inference() is None
