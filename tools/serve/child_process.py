"""A child process that never outlives this one: stopped with SIGTERM, then killed with everything it started.

A watchdog process ends the children if this process is killed. The parent-death signal (prctl PR_SET_PDEATHSIG) would
need a preexec_fn, which is unsafe in a process with threads, and reaches only the child itself.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from tools.serve import orphans

_WATCHDOG_GRACE_SECONDS = 10  # longer than Triton's own exit timeout
_token = secrets.token_hex(16)
_watchdog_lock = threading.Lock()
_watchdog: subprocess.Popen[bytes] | None = None


class ChildProcess:
    """A process in its own session, so that Ctrl-C reaches only this process, which then stops its children in order.

    The child inherits the descriptors `keep_open` besides its standard streams.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        output: IO[bytes] | None = None,
        folder: Path | None = None,
        keep_open: Sequence[int] = (),
    ) -> None:
        _start_watchdog()
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env={**environment, orphans.TOKEN_VARIABLE: _token},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,
            pass_fds=keep_open,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit code once the process has ended, else None."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait until the process ends by itself; return its exit code."""
        return self._process.wait()

    def stop(self, grace_seconds: float) -> None:
        """Send SIGTERM, wait up to `grace_seconds`, then kill the process and the rest of its process group."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                pass  # the group is killed below
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # nothing is left of it
        self._process.wait()


def _start_watchdog() -> None:
    """Start this process's watchdog if it is not running. It has no token, so no other watchdog ends it."""
    global _watchdog
    with _watchdog_lock:
        if _watchdog is None or _watchdog.poll() is not None:
            _watchdog = subprocess.Popen(
                [sys.executable, "-I", "-S", orphans.__file__, _token, str(_WATCHDOG_GRACE_SECONDS)],
                env={name: value for name, value in os.environ.items() if name != orphans.TOKEN_VARIABLE},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
