"""The memory and CPU time of a process and its descendants, by the role of each process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from tools.triton.running_stubs import instance_of

_ROLES = (("tritonserver", "triton"), ("-m frontend", "frontend"))


@dataclass(frozen=True)
class Usage:
    """`memory_mb` is proportional set size: a page that several processes share is counted once."""

    processes: int
    memory_mb: float
    cpu_seconds: dict[str, float]


def usage(pid: int, role: str, memory: bool = True) -> Usage:
    """Measure `pid`, whose role is `role`, and its descendants. A process without a known role has its parent's.

    Reading the memory takes some milliseconds per process. With `memory` off, `memory_mb` is 0.
    """
    processes, memory_bytes, cpu = 0, 0, defaultdict[str, float](float)
    for process, name in family(pid, role):
        try:
            times = process.cpu_times()
            cpu[name] += times.user + times.system
            processes += 1
            if memory:
                memory_bytes += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue  # it has just ended
    return Usage(processes, memory_bytes / 1e6, dict(cpu))


def family(pid: int, role: str) -> Iterator[tuple[psutil.Process, str]]:
    """Yield the process `pid`, whose role is `role`, and its descendants, with their roles.

    The Python processes of Triton have the name of their model as role. A process without a known role has its
    parent's. Processes that have just ended are left out.
    """
    try:
        process = psutil.Process(pid)
        role = _role(process.cmdline()) or role
        children = process.children()
    except psutil.NoSuchProcess:
        return
    yield process, role
    for child in children:
        yield from family(child.pid, role)


def _role(command: list[str]) -> str | None:
    if instance := instance_of(command):
        return instance.model
    text = " ".join(command)
    return next((role for sign, role in _ROLES if sign in text), None)
