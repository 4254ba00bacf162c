"""Ends the processes of a program that was killed. Runs as a program of its own; standard library only.

    python -I -S orphans.py TOKEN GRACE_SECONDS

Its standard input is a pipe from the program it watches; the kernel closes it however that program ends. The watchdog
then ends every process whose environment contains TOKEN_VARIABLE=TOKEN. The environment is inherited, so this finds
descendants whose own parent is already gone, such as Triton's Python stubs.
"""

from __future__ import annotations

import os
import signal
import sys
import time

TOKEN_VARIABLE = "BIRDS_STARTED_BY"  # noqa: S105 (not a secret)
_POLL_SECONDS = 0.05
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # it ends when the program does


def main(token: str, grace_seconds: float) -> None:
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    mark = f"{TOKEN_VARIABLE}={token}".encode()
    for pid in filter(leads_session, marked_processes(mark)):
        send(pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while pids := marked_processes(mark):
        if time.monotonic() > deadline:
            for pid in pids:
                send(pid, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)


def marked_processes(mark: bytes) -> list[int]:
    """Return the running processes that have `mark` in their environment; zombies have none."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if mark in file.read().split(b"\0"):
                    found.append(int(name))
        except OSError:
            continue  # another user's, or it has just ended
    return found


def leads_session(pid: int) -> bool:
    """Return whether the killed program started this process itself; such a process stops its own children."""
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False  # it has just ended


def send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it has just ended


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
