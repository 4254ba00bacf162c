"""The supervisor's decisions about a small real process that can be made to die, freeze and fail at will."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import alive, eventually
from tools.serve import supervisor
from tools.serve.child_process import ChildProcess
from tools.serve.health_check import HealthCheck
from tools.serve.supervisor import SupervisedProcess, Supervisor

PROGRAM = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
if (folder / "broken").exists():
    sys.exit(3)
(folder / "heartbeat").touch()  # the check reads it from now on
(folder / "ready").touch()
while True:
    (folder / "heartbeat").write_text(str(time.monotonic()))
    time.sleep(0.02)
"""


HEARTBEAT_SECONDS = 2  # a busy disk can delay a heartbeat by half a second


class Worker(SupervisedProcess):
    """A process that writes a heartbeat to a file. It reports a problem while a file named `unhealthy` exists."""

    name = "The worker"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.starts = 0
        self.process: ChildProcess | None = None

    def start(self) -> None:
        if (self.folder / "no space").exists():
            raise OSError("no space")
        (self.folder / "ready").unlink(missing_ok=True)
        self.starts += 1
        self.process = ChildProcess([sys.executable, "-c", PROGRAM, str(self.folder)], os.environ)

    def stop(self, grace_seconds: float) -> None:
        if self.process:
            self.process.stop(0.1)

    def poll(self) -> int | None:
        return self.process.poll() if self.process else None

    def is_ready(self) -> bool:
        return (self.folder / "ready").exists()

    def failure_reason(self) -> str:
        return "the reason"

    def health_checks(self) -> list[HealthCheck]:
        return [
            HealthCheck(self._problem, 5, "no answer", interval_seconds=0.02),
            HealthCheck(self._wait_for_heartbeat, HEARTBEAT_SECONDS, "no heartbeat", interval_seconds=0.02),
        ]

    def _problem(self) -> str | None:
        if (self.folder / "check broken").exists():
            raise RuntimeError("the check is broken")
        return "it is unhealthy" if (self.folder / "unhealthy").exists() else None

    def _wait_for_heartbeat(self) -> str | None:
        before = (self.folder / "heartbeat").read_text()
        while (self.folder / "heartbeat").read_text() == before and self.poll() is None:
            time.sleep(0.01)
        return None


class Supervised:
    """A worker with its supervisor, and what the supervisor reported."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.reports: list[str] = []
        self.supervisor = Supervisor(worker, self.reports.append)

    @property
    def pid(self) -> int:
        assert self.worker.process
        return self.worker.process.pid

    def until(self, text: str, seconds: float = 60) -> None:
        """Tick until a report contains `text`."""

        def reported() -> bool:
            self.supervisor.tick()
            return any(text in line for line in self.reports)

        assert eventually(reported, seconds), self.reports

    def tick_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.supervisor.tick()
            time.sleep(0.02)


@pytest.fixture
def supervised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervised]:
    monkeypatch.setattr(supervisor, "_LONGEST_BACKOFF_SECONDS", 2.0)
    worker = Worker(tmp_path)
    worker.start()
    try:
        assert eventually(worker.is_ready)
        supervised = Supervised(worker)
        yield supervised
        supervised.supervisor.end()
    finally:
        worker.stop(0)


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGKILL, "it ended with signal 9"), (signal.SIGSTOP, "no heartbeat")]
)
def test_a_dead_or_frozen_process_is_restarted(supervised: Supervised, number: signal.Signals, reason: str) -> None:
    before = supervised.pid
    os.kill(before, number)
    supervised.until("back after")
    assert supervised.reports[0] == f"The worker: {reason}. Restarting it now."
    assert len(supervised.reports) == 2
    assert not alive(before)
    assert alive(supervised.pid)


def test_a_healthy_process_keeps_running(supervised: Supervised) -> None:
    before = supervised.pid
    supervised.tick_for(1.5 * HEARTBEAT_SECONDS)
    assert (supervised.reports, supervised.pid, supervised.worker.starts) == ([], before, 1)


def test_a_check_that_raises_restarts_nothing(supervised: Supervised, caplog: pytest.LogCaptureFixture) -> None:
    """Not even after its timeout, which its silence once reached."""
    (supervised.worker.folder / "check broken").touch()
    (supervised.worker.folder / "heartbeat").unlink()  # the other check raises until the next heartbeat
    supervised.tick_for(1.5 * HEARTBEAT_SECONDS)
    assert (supervised.reports, supervised.worker.starts) == ([], 1)
    tracebacks = [
        record for record in caplog.records if record.exc_info and "the check is broken" in str(record.exc_text)
    ]
    assert len(tracebacks) == 1
    (supervised.worker.folder / "check broken").unlink()
    (supervised.worker.folder / "unhealthy").touch()
    supervised.until("it is unhealthy")


def test_restarts_continue_with_growing_backoff(supervised: Supervised) -> None:
    (supervised.worker.folder / "broken").touch()
    os.kill(supervised.pid, signal.SIGKILL)
    supervised.until("Restarting it in 2 s")
    assert "it ended with exit code 3 while starting: the reason. Restarting it " in supervised.reports[1]
    (supervised.worker.folder / "broken").unlink()
    supervised.until("back after")


def test_a_failed_start_is_repeated(supervised: Supervised) -> None:
    (supervised.worker.folder / "no space").touch()
    os.kill(supervised.pid, signal.SIGKILL)
    supervised.until("The worker: no space.")
    (supervised.worker.folder / "no space").unlink()
    supervised.until("back after")


def test_a_persistent_problem_restarts_ever_more_rarely(supervised: Supervised) -> None:
    (supervised.worker.folder / "unhealthy").touch()
    began = time.monotonic()
    while supervised.worker.starts < 4:
        supervised.supervisor.tick()
        time.sleep(0.02)
    assert time.monotonic() - began > 3, "the backoff was 0, 1 and 2 s"
    (supervised.worker.folder / "unhealthy").unlink()
    supervised.until("back after")
