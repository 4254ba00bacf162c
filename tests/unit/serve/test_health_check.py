"""When answers, timeouts and exceptions of a check count as a problem of the process."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.processes import eventually
from tools.serve.health_check import HealthCheck, HealthCheckThread

Start = Callable[..., HealthCheckThread]


@pytest.fixture
def start() -> Iterator[Start]:
    threads: list[HealthCheckThread] = []

    def start(ask: Callable[[], str | None], timeout_seconds: float = 60) -> HealthCheckThread:
        threads.append(HealthCheckThread(HealthCheck(ask, timeout_seconds, "timeout", interval_seconds=0.01)))
        return threads[-1]

    yield start
    for thread in threads:
        thread.end()


def test_one_problem_alone_does_not_count(start: Start) -> None:
    thread = start(itertools.cycle(["bad", None]).__next__)
    assert not eventually(lambda: thread.problem() is not None, 0.3)


def test_two_problems_in_a_row_count(start: Start) -> None:
    thread = start(lambda: "bad")
    assert eventually(lambda: thread.problem() == "bad")


def test_an_unanswered_call_is_a_timeout(start: Start) -> None:
    release = threading.Event()
    thread = start(lambda: release.wait(20) and None, timeout_seconds=0.2)
    assert eventually(lambda: thread.problem() == "timeout")
    release.set()
    assert eventually(lambda: thread.problem() is None)


@pytest.mark.parametrize("error", [StopIteration, OSError])
def test_an_exception_never_counts(start: Start, error: type[Exception], caplog: pytest.LogCaptureFixture) -> None:
    calls = itertools.count(1)
    asked = 0

    def ask() -> str | None:
        nonlocal asked
        asked = next(calls)
        raise error

    thread = start(ask, timeout_seconds=1)
    assert not eventually(lambda: thread.problem() is not None, 1.5)
    assert eventually(lambda: asked > 5), "the check must continue"
    assert [record.levelno for record in caplog.records if record.exc_info] == [logging.ERROR]


def test_time_in_which_this_program_was_stopped_does_not_count(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-Z and fg: the check's answer could not arrive either."""
    release = threading.Event()
    thread = start(lambda: release.wait(20) and None, timeout_seconds=10)
    assert not eventually(lambda: thread.problem() is not None, 0.2)
    pause = time.monotonic() + 3600
    monkeypatch.setattr("tools.serve.health_check.time.monotonic", lambda: pause)
    assert thread.problem() is None
    release.set()
