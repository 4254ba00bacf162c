"""Keeps the service's processes running: notices one that is dead, frozen or sick, and starts it again.

How the parts play together is described in docs/reliability.md.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from tools.errors import ToolError

START_SECONDS = 180
_RESTART_PATIENCE_SECONDS = 1  # for one that is sick: the little it would still answer costs all others the wait
_WELL_AFTER_SECONDS = 60  # a process that ran for so long begins anew with the shortest pause
_LONGEST_PAUSE_SECONDS = 30


@dataclass(frozen=True)
class Check:
    """One way to tell whether a process does its work.

    `ask` answers with what is wrong, or None. It may take `patience_seconds`; more than that means `silence`.
    """

    ask: Callable[[], str | None]
    patience_seconds: float
    silence: str
    interval_seconds: float = 1


class Member(ABC):
    """A process that is to run all the time."""

    name: str

    @abstractmethod
    def start(self) -> None:
        """Start the process and return at once. Raises OSError or StartFailed."""

    @abstractmethod
    def halt(self, patience_seconds: float) -> None:
        """End the process; it may be started again. Harmless if it does not run."""

    @abstractmethod
    def poll(self) -> int | None:
        """The exit code once the process has ended, else None."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it has come so far that it can be checked."""

    @abstractmethod
    def failure(self) -> str:
        """Why a process that did not become ready did not."""

    @abstractmethod
    def checks(self) -> list[Check]:
        """The checks of the process that runs now."""


class StartFailed(ToolError):
    """A process cannot be started; the text says why."""


class Watch:
    """Asks one check again and again, on a thread of its own: a question may take its time."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._answers: tuple[str | None, ...] = ()
        self._asked_at: float | None = None
        self._over = threading.Event()
        threading.Thread(target=self._ask, name=check.silence, daemon=True).start()

    def end(self) -> None:
        self._over.set()

    def ailment(self) -> str | None:
        """What is wrong, told by two answers in a row or by the lack of one."""
        asked_at, answers = self._asked_at, self._answers
        if asked_at is not None and time.monotonic() - asked_at > self._check.patience_seconds:
            return self._check.silence
        return answers[-1] if len(answers) == 2 and all(answers) else None

    def _ask(self) -> None:
        while not self._over.wait(self._check.interval_seconds):
            self._asked_at = time.monotonic()
            self._answers = (*self._answers, self._check.ask())[-2:]
            self._asked_at = None


class Keeper:
    """Restarts one member whenever it has to be, after pauses that double while that does not help.

    Call `tick` often; it never waits for anything but the member's own start and end. The member runs and is ready
    when a Keeper is made.
    """

    def __init__(self, member: Member, say: Callable[[str], None]) -> None:
        self._member = member
        self._say = say
        self._watches: list[Watch] = []
        self._pause = 0.0
        self._next_start = 0.0
        self._starting_since: float | None = None
        self._ill_since = 0.0
        self._ready_since = 0.0
        self._running = True
        self._became_ready()

    def tick(self) -> None:
        """Look at the member and do what is next."""
        now = time.monotonic()
        if self._running:
            if now - self._ready_since > _WELL_AFTER_SECONDS:
                self._pause = 0.0
            ailment = self._ailment()
            # One that restarts do not cure may still do a part of its work: it is left alone for the pause.
            if ailment and (self._member.poll() is not None or now >= self._next_start):
                self._ill_since = now
                self._stop(ailment)
        elif self._starting_since is not None:
            self._look_at_the_start(self._starting_since)
        elif now >= self._next_start:
            self._start()

    def end(self) -> None:
        """Watch no more; the member is left as it is."""
        for watch in self._watches:
            watch.end()
        self._watches = []

    def _ailment(self) -> str | None:
        if (code := self._member.poll()) is not None:
            return f"it ended with {_described(code)}"
        return next((ailment for watch in self._watches if (ailment := watch.ailment())), None)

    def _became_ready(self) -> None:
        self._running, self._starting_since = True, None
        self._ready_since = time.monotonic()
        self._watches = [Watch(check) for check in self._member.checks()]

    def _stop(self, reason: str) -> None:
        """Take the member down, to be started again at once or after the pause that is due."""
        self._running, self._starting_since = False, None
        self.end()
        wait = max(self._next_start - time.monotonic(), 0.0)
        when = f"in {wait:.0f} s" if wait >= 0.5 else "now"
        self._say(f"{self._member.name}: {reason}. Starting it again {when}.")
        self._member.halt(_RESTART_PATIENCE_SECONDS)

    def _start(self) -> None:
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS) or 1.0
        self._starting_since = time.monotonic()
        self._next_start = self._starting_since + self._pause
        try:
            self._member.start()
        except (StartFailed, OSError) as error:
            self._stop(str(error))

    def _look_at_the_start(self, since: float) -> None:
        if (code := self._member.poll()) is not None:
            self._stop(f"it ended with {_described(code)} while starting: {self._member.failure()}")
        elif self._member.is_ready():
            self._became_ready()
            self._next_start = self._ready_since + self._pause
            self._say(f"{self._member.name}: back after {self._ready_since - self._ill_since:.1f} s.")
        elif time.monotonic() - since > START_SECONDS:
            self._stop(f"it was not ready within {START_SECONDS} s: {self._member.failure()}")


def _described(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
