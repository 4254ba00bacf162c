"""Keeps the service's processes running: detects one that ended or fails its health checks, and restarts it.

docs/reliability.md describes the decisions.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from tools.errors import ToolError
from tools.serve.health_check import HealthCheck, HealthCheckThread

START_TIMEOUT_SECONDS = 180
_RESTART_GRACE_SECONDS = 1  # waiting longer for an unhealthy process delays every caller for the few it still answers
_HEALTHY_AFTER_SECONDS = 60  # after running this long, the next restart is immediate again
_LONGEST_BACKOFF_SECONDS = 30


class StartFailed(ToolError):
    """A process cannot be started; the text says why."""


class SupervisedProcess(ABC):
    """A process that should run all the time."""

    name: str

    @abstractmethod
    def start(self) -> None:
        """Start the process and return at once. Raises OSError or StartFailed."""

    @abstractmethod
    def stop(self, grace_seconds: float) -> None:
        """Stop the process; it can be started again. Does nothing if the process is not running."""

    @abstractmethod
    def poll(self) -> int | None:
        """Return the exit code once the process has ended, else None."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Return whether the process has finished starting, so that health checks make sense."""

    @abstractmethod
    def failure_reason(self) -> str:
        """Say why the process did not become ready."""

    @abstractmethod
    def health_checks(self) -> list[HealthCheck]:
        """Return new health checks for the process that is running now."""


class Supervisor:
    """Restarts one process whenever it has ended or is unhealthy, with exponential backoff.

    Call `tick` often; it only ever blocks for the process's own start and stop. The process must be ready when the
    Supervisor is created.
    """

    def __init__(self, process: SupervisedProcess, report: Callable[[str], None]) -> None:
        self._process = process
        self._report = report
        self._checks: list[HealthCheckThread] = []
        self._backoff = 0.0
        self._next_start = 0.0
        self._starting_since: float | None = None
        self._unhealthy_since = 0.0
        self._ready_since = 0.0
        self._running = True
        self._became_ready()

    def tick(self) -> None:
        """Look at the process once and take the next step."""
        now = time.monotonic()
        if self._running:
            if now - self._ready_since > _HEALTHY_AFTER_SECONDS:
                self._backoff = 0.0
            problem = self._problem()
            # A process that restarts do not cure may still do part of its work, so it keeps running during the backoff.
            if problem and (self._process.poll() is not None or now >= self._next_start):
                self._unhealthy_since = now
                self._stop(problem)
        elif self._starting_since is not None:
            self._check_start(self._starting_since)
        elif now >= self._next_start:
            self._start()

    def end(self) -> None:
        """Stop checking; the process keeps running."""
        for check in self._checks:
            check.end()
        self._checks = []

    def _problem(self) -> str | None:
        if (code := self._process.poll()) is not None:
            return f"it ended with {_describe(code)}"
        problems = [check.problem() for check in self._checks]  # ask all: each measures its own timeout between calls
        return next((problem for problem in problems if problem), None)

    def _became_ready(self) -> None:
        self._running, self._starting_since = True, None
        self._ready_since = time.monotonic()
        self._checks = [HealthCheckThread(check) for check in self._process.health_checks()]

    def _stop(self, reason: str) -> None:
        """Stop the process; it starts again at once, or after the backoff."""
        self._running, self._starting_since = False, None
        self.end()
        wait = max(self._next_start - time.monotonic(), 0.0)
        when = f"in {wait:.0f} s" if wait >= 0.5 else "now"
        self._report(f"{self._process.name}: {reason}. Restarting it {when}.")
        self._process.stop(_RESTART_GRACE_SECONDS)

    def _start(self) -> None:
        self._backoff = min(2 * self._backoff, _LONGEST_BACKOFF_SECONDS) or 1.0
        self._starting_since = time.monotonic()
        self._next_start = self._starting_since + self._backoff
        try:
            self._process.start()
        except (StartFailed, OSError) as error:
            self._stop(str(error))

    def _check_start(self, since: float) -> None:
        if (code := self._process.poll()) is not None:
            self._stop(f"it ended with {_describe(code)} while starting: {self._process.failure_reason()}")
        elif self._process.is_ready():
            self._became_ready()
            self._next_start = self._ready_since + self._backoff
            self._report(f"{self._process.name}: back after {self._ready_since - self._unhealthy_since:.1f} s.")
        elif time.monotonic() - since > START_TIMEOUT_SECONDS:
            self._stop(f"it was not ready within {START_TIMEOUT_SECONDS} s: {self._process.failure_reason()}")


def _describe(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
