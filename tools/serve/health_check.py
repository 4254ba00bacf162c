"""One repeated question to a running process, and what its answers say about the process.

An answer can only blame the process that was asked. A check that raises has a fault of its own (a bug, or a machine
without free file descriptors), so it is logged and says nothing about the process.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

_log = logging.getLogger(__name__)

_PROBLEMS_IN_A_ROW = 2
_LONGEST_COUNTED_STEP_SECONDS = 1.0


@dataclass(frozen=True)
class HealthCheck:
    """A way to find out whether a process does its work.

    `ask` returns the problem, or None if there is none. A call that takes longer than `timeout_seconds` is a problem
    too, which `timeout_problem` describes. `ask` may raise anything; see the module.
    """

    ask: Callable[[], str | None]
    timeout_seconds: float
    timeout_problem: str
    interval_seconds: float = 2


class HealthCheckThread:
    """Repeats one health check on its own thread, because an answer can take long."""

    def __init__(self, check: HealthCheck) -> None:
        self._check = check
        self._problems: tuple[str | None, ...] = ()
        self._calls = 0  # odd while a call is in progress
        self._waited_for = 0
        self._waited_seconds = 0.0
        self._looked_at = time.monotonic()
        self._logged: set[str] = set()
        self._ended = threading.Event()
        threading.Thread(target=self._run, name=f"check: {check.timeout_problem}", daemon=True).start()

    def end(self) -> None:
        self._ended.set()

    def problem(self) -> str | None:
        """Return the problem that two answers in a row reported, or the timeout of the current call. Call it often.

        The timeout counts only time in which this method was called: while this whole program was stopped (Ctrl-Z,
        a debugger, a machine without free CPU time), its check thread could not receive an answer either.
        """
        now, calls = time.monotonic(), self._calls
        step = min(now - self._looked_at, _LONGEST_COUNTED_STEP_SECONDS)
        self._looked_at = now
        if calls % 2 == 0 or calls != self._waited_for:
            self._waited_for, self._waited_seconds = calls, 0.0
        else:
            self._waited_seconds += step
            if self._waited_seconds > self._check.timeout_seconds:
                return self._check.timeout_problem
        problems = self._problems
        return problems[-1] if len(problems) == _PROBLEMS_IN_A_ROW and all(problems) else None

    def _run(self) -> None:
        while not self._ended.wait(self._check.interval_seconds):
            self._calls += 1
            try:
                problem = self._check.ask()
            except Exception:
                self._log_once()
            else:
                self._problems = (*self._problems, problem)[-_PROBLEMS_IN_A_ROW:]
            finally:
                self._calls += 1

    def _log_once(self) -> None:
        """Log the current exception with its traceback, unless it was raised at the same place before."""
        places = "".join(traceback.format_exc().splitlines(keepends=True)[:-1])
        if places not in self._logged and not self._ended.is_set():
            self._logged.add(places)
            _log.exception("A health check failed by itself. This says nothing about the process, so it keeps running.")
