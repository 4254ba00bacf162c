"""A child that never outlives us: stopped politely, then firmly, with everything it started."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1


class ChildProcess:
    """A process in a session of its own, so that Ctrl-C reaches us alone and we decide the order of stopping."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        output: IO[bytes] | None = None,
        folder: Path | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code once the process has ended, else None."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait for the process to end by itself; returns its exit code."""
        return self._process.wait()

    def stop(self, patience_seconds: float) -> None:
        """Ask the process to end, kill it after `patience_seconds`, then kill what is left of its group."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(patience_seconds)
            except subprocess.TimeoutExpired:
                pass  # the group is killed below
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # nothing is left of it
        self._process.wait()


def _die_with_parent() -> None:
    """If we are killed outright, the kernel asks the child to stop."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
