"""Processes, and the files that they leave behind."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from tools.serve.triton_process import SCRATCH_KIND
from tools.triton.arguments import REGION_KIND, SHARED_MEMORY


def leftovers() -> set[Path]:
    """The files of Tritons that no longer run: those whose lock nobody holds."""
    found = set()
    for lock in (*SHARED_MEMORY.glob(f"{REGION_KIND}*.lock"), *Path("/tmp").glob(f"{SCRATCH_KIND}*.lock")):
        with suppress(OSError), lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            found |= {lock, *lock.parent.glob(f"{lock.stem}_*")}
    return found


def eventually(condition: Callable[[], bool], seconds: float = 120) -> bool:
    """Whether `condition` becomes true. The default is for what must happen, however slow the machine is."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def libraries_of(pid: int) -> set[str]:
    """Paths of all files that a process has mapped: shared libraries above all."""
    return {entry.path for entry in psutil.Process(pid).memory_maps()}


def children(pid: int, recursive: bool = False) -> set[int]:
    """The processes that any thread of `pid` has started; with `recursive` all descendants."""
    try:
        return {child.pid for child in psutil.Process(pid).children(recursive)}
    except psutil.NoSuchProcess:
        return set()


def descendants(pid: int) -> list[int]:
    """Every process below `pid`."""
    return sorted(children(pid, recursive=True))


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def command_line(pid: int) -> str:
    """The words that started it, or nothing if it has just ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
