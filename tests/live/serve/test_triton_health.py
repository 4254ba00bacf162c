"""What distinguishes a busy Triton from a broken one, tested with a real one."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.model_repository import copy_templates, install_classifier
from tests.support.processes import command_line, descendants, eventually
from tests.support.tiny_model import LABELS
from tools.serve import triton_health
from tools.serve.ports import free_port, free_triton_ports
from tools.serve.triton_health import TritonHealth
from tools.serve.triton_process import TritonServer
from tools.triton.control import ControlError, LocalFault, NoAnswer, Refused, TritonControl
from tools.triton.running_stubs import running_stubs
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


def test_lost_process_counts_but_unloaded_model_does_not(triton: TritonServer) -> None:
    control = TritonControl(triton.http_url)
    health = TritonHealth(triton.pid, control)
    names = {"preprocess_0_0", "preprocess_0_1", "classifier_0_0"}
    assert {instance.name for instance in running_stubs(triton.pid).values()} == names
    assert (health.lost_process(), health.failing_inference(), health.not_live()) == (None, None, None)
    os.kill(stub(triton, "preprocess_0_1"), signal.SIGKILL)
    assert eventually(lambda: health.lost_process() is not None)
    assert health.lost_process() == "instance preprocess_0_1 of version 1 has lost its process"
    control.unload("birds_v1")
    control.unload("birds")
    control.unload("preprocess")
    assert eventually(lambda: health.lost_process() is None)
    assert health.failing_inference() is not None, "nobody can be served"


def test_a_hanging_process_is_noticed(triton: TritonServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its silence, or by Triton, which takes a process that does not move for dead after about a second."""
    monkeypatch.setattr(triton_health, "_INFERENCE_TIMEOUT_SECONDS", 1)
    control = TritonControl(triton.http_url)
    health = TritonHealth(triton.pid, control)
    classifier = stub(triton, "classifier_0_0")
    control.probe("birds_v1")
    os.kill(classifier, signal.SIGSTOP)
    try:
        with pytest.raises(ControlError):
            control.probe("birds_v1", 1)  # each probe is a new image, so the cache does not answer it
        failure = str(health.failing_inference())
        assert "does not answer" in failure or "is not healthy" in failure
        assert health.not_live() is None
    finally:
        os.kill(classifier, signal.SIGCONT)


class FakeControl(TritonControl):
    """A Triton that serves `birds` and `birds_v2`; `fail` decides what a probe of one of them raises."""

    def __init__(self, fail: Callable[[str], Exception | None], retired: bool = False) -> None:
        super().__init__("http://127.0.0.1:1")
        self.fail = fail
        self.retired = retired
        self.images = 0
        self.images_per_question = 0

    def ready(self) -> set[tuple[str, str]]:
        return {("birds", "1"), ("birds_v2", "1")}

    def images_done(self) -> dict[str, int]:
        self.images += self.images_per_question
        return {"preprocess": self.images, "classifier": self.images}

    def probe(self, ensemble: str, timeout_seconds: float = 10) -> None:
        if self.retired:
            self.ready = lambda: {("birds", "1")}  # type: ignore[method-assign]
        if error := self.fail(ensemble):
            raise error


def health_of(control: TritonControl) -> TritonHealth:
    return TritonHealth(os.getpid(), control)


def test_a_busy_triton_is_healthy() -> None:
    """Too much load to create here in little time: the probe gets no answer, but others do."""
    control = FakeControl(lambda _: NoAnswer("no answer"))
    assert health_of(control).failing_inference() == "no answer"
    control.images_per_question = 4
    assert health_of(control).failing_inference() is None


def test_a_version_that_stops_working_is_a_problem() -> None:
    control = FakeControl(lambda _: None)
    health = health_of(control)
    assert [health.failing_inference() for _ in range(2)] == [None, None]
    control.fail = lambda ensemble: Refused("broken", 500) if ensemble == "birds_v2" else None
    assert [health.failing_inference() for _ in range(3)] == [None, *["an inference fails: broken"] * 2]


def test_a_version_that_never_worked_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A restart would not cure it, and would interrupt the versions that work."""
    health = health_of(FakeControl(lambda ensemble: Refused("damaged", 500) if ensemble == "birds_v2" else None))
    assert [health.failing_inference() for _ in range(4)] == [None] * 4
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "damaged" in caplog.text


def test_retired_version_is_not_a_problem() -> None:
    control = FakeControl(lambda _: None)
    health = health_of(control)
    assert [health.failing_inference() for _ in range(3)] == [None] * 3
    control.retired = True
    control.fail = lambda ensemble: Refused("unknown model", 404) if ensemble == "birds_v2" else None
    assert [health.failing_inference() for _ in range(2)] == [None, None]


def test_rejected_key_is_not_a_problem() -> None:
    assert health_of(FakeControl(lambda _: Refused("restricted", 403))).failing_inference() is None


def test_a_machine_without_descriptors_does_not_blame_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_descriptor(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("socket.create_connection", no_descriptor)
    health = health_of(TritonControl(f"http://127.0.0.1:{free_port()}"))
    for check in (health.not_live, health.failing_inference):
        with pytest.raises(LocalFault):
            check()


def test_a_refused_connection_is_a_problem() -> None:
    health = health_of(TritonControl(f"http://127.0.0.1:{free_port()}"))
    assert health.not_live() == "it accepts no connections"
    assert "does not answer" in str(health.failing_inference())
