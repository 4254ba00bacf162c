"""The Python backend's processes (stubs) of a running tritonserver, read from /proc. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

_PROGRAM = "triton_python_backend_stub"


class Instance(NamedTuple):
    """A model instance, which one stub runs."""

    model: str
    version: str
    name: str


def running_stubs(triton_pid: int) -> dict[int, Instance]:
    """Return the instance of every living stub by process id.

    While Triton completes a model's configuration by itself, a short-lived stub has no instance: left out.
    """
    return instances_of(_children(triton_pid))


def instances_of(pids: Iterable[int]) -> dict[int, Instance]:
    """Return the instance of every living stub among `pids`. This is much cheaper than a search for all stubs."""
    found = {}
    for pid in pids:
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it has just ended
        if instance := instance_of(arguments):
            found[pid] = instance
    return found


def instance_of(command: Sequence[str]) -> Instance | None:
    """Return the instance that a process runs, by its command line; None if it is not a stub, or has no instance."""
    # A zombie has no arguments.
    if len(command) < 2 or Path(command[0]).name != _PROGRAM:
        return None
    path = Path(command[1]).parts  # …/<model>/<version>/model.py or …/<model>/<version>/model.savedmodel
    if len(path) < 3:
        return None
    model, version = path[-3:-1]
    name = next((argument for argument in command[2:] if argument.startswith(f"{model}_")), None)
    return Instance(model, version, name) if name else None


def _children(pid: int) -> list[int]:
    """Return the processes that any thread of `pid` started: several of Triton's threads load models.

    Without pathlib and buffers: Triton has about a hundred threads.
    """
    found: list[int] = []
    threads = f"/proc/{pid}/task"
    try:
        numbers = os.listdir(threads)
    except OSError:
        return []  # the process has ended
    for number in numbers:
        try:
            with open(f"{threads}/{number}/children", "rb", buffering=0) as children:
                found += map(int, children.readall().split())
        except OSError:
            continue  # the thread has just ended
    return found
