"""Restarts of processes during a soak, as the service's log reports them, and whether a fault explains each."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from tools.measure.soak.service import FRONTEND, TRITON, WORKER

# The first two lines are the supervisor's, the last is uvicorn's.
_LINES = {
    TRITON: re.compile(r"Triton: (?P<reason>.*) Restarting it"),
    FRONTEND: re.compile(r"The frontend: (?P<reason>.*) Restarting it"),
    WORKER: re.compile(r"(?P<reason>Child process \[\d+\] died)"),
}


class Restarts:
    """The restarts so far, by role. A fault explains one restart of the role that it ends."""

    def __init__(self, log: Path) -> None:
        self.counts: Counter[str] = Counter()
        self.expected: Counter[str] = Counter()
        self.unexplained: list[str] = []
        self._log = log
        self._bytes_read = 0
        self._fault, self._explained = "the start", ""

    def fault(self, name: str, ends: str) -> None:
        """Note that a fault begins. `ends` is the role of the process that it ends, or empty."""
        self.read()
        self._fault, self._explained = name, ends
        self.expected[ends] += 1

    def read(self) -> None:
        """Read the lines that the log has got since the last time."""
        with self._log.open("rb") as log:
            log.seek(self._bytes_read)
            added = log.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._bytes_read += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            for role, pattern in _LINES.items():
                if match := pattern.search(line):
                    self._note(role, match["reason"])

    def text(self) -> str:
        """How many restarts there were by role, and how many faults were injected that end a process of the role."""
        return "   ".join(
            f"{role} restarts: {self.counts[role]}, faults that end it: {self.expected[role]}" for role in _LINES
        )

    def _note(self, role: str, reason: str) -> None:
        self.counts[role] += 1
        if role == self._explained:
            self._explained = ""
        else:
            self.unexplained.append(f"{role}: restarted after {self._fault}, which does not explain it: {reason}")
