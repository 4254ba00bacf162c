"""Processes that end during a soak, and whether the last fault explains their end."""

from __future__ import annotations

import psutil

TRITON, WORKER = "triton", "worker"
_STUBS = ("preprocess", "classifier")  # they end with Triton, and some run only while it starts


class Endings:
    """The processes that have ended; `unexplained` has a line for each one that no fault ended.

    A fault explains the end of one process of the role that it ends. The end of Triton explains that of its stubs.
    """

    def __init__(self) -> None:
        self.unexplained: list[str] = []
        self._known: dict[psutil.Process, str] = {}
        self._fault, self._explained = "the start", ""
        self._used = False

    def fault(self, name: str, ends: str) -> None:
        """Remember the last fault; `ends` is TRITON, WORKER or empty."""
        self._fault, self._explained, self._used = name, ends, False

    def look(self, processes: dict[str, list[psutil.Process]]) -> None:
        """Compare the processes that run now, by role, with those seen before."""
        for process in [process for process in self._known if not _runs(process)]:
            role = self._known.pop(process)
            if not self._explains(role):
                self.unexplained.append(f"{role}: process {process.pid} ended by itself, after {self._fault}")
        for role, members in processes.items():
            self._known.update(dict.fromkeys(members, role))

    def _explains(self, role: str) -> bool:
        if role in _STUBS:
            return self._explained == TRITON
        if role != self._explained or self._used:
            return False
        self._used = True
        return True


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
