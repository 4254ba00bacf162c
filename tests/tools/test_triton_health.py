"""What tells a Triton that is busy from one that is broken, seen on a real one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import copy_templates, install_classifier
from tests.ports import free_triton_ports
from tests.processes import command_line, descendants, eventually
from tests.tiny_model import LABELS
from tools import triton_health
from tools.triton_control import ControlError, TritonControl
from tools.triton_health import TritonHealth, instances
from tools.triton_server import TritonServer
from tools.triton_settings import TritonSettings


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


def test_a_process_that_hangs_is_told_from_one_that_is_busy(
    triton: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton_health, "_STUCK_AFTER_SECONDS", 1)
    control = TritonControl(triton.http_url)
    health = TritonHealth(triton.pid, control)
    classifier = stub(triton, "classifier_0_0")
    control.probe("birds_v1")
    os.kill(classifier, signal.SIGSTOP)
    try:
        with pytest.raises(ControlError):
            control.probe("birds_v1", 1)  # the cache does not answer, which knows the images of before
        assert "does not answer" in str(health.failing_inference())
        done = iter([{"preprocess": 5, "classifier": 5}, {"preprocess": 9, "classifier": 7}])
        monkeypatch.setattr(control, "work_done", lambda: next(done))
        served = {("birds", "1")}
        monkeypatch.setattr(control, "ready", lambda: served)
        assert health.failing_inference() is None, "others are answered meanwhile"
        assert health.not_live() is None
    finally:
        os.kill(classifier, signal.SIGCONT)
