"""Which ends of processes a soak attributes to its faults."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest

from tools.measure.soak.endings import TRITON, WORKER, Endings

Processes = dict[str, list[psutil.Process]]


class Family:
    """Real processes by role, which can be ended and replaced."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.processes: Processes = {}
        for role in ("triton", "preprocess", "preprocess", "classifier", "worker", "worker", "frontend"):
            self.add(role)

    def add(self, role: str) -> None:
        process = self._stack.enter_context(subprocess.Popen(["sleep", "60"]))
        self._stack.callback(process.kill)
        self.processes.setdefault(role, []).append(psutil.Process(process.pid))

    def replace(self, *roles: str) -> None:
        """End the first of each role; another takes its place."""
        for role in roles:
            victim = self.processes[role].pop(0)
            victim.kill()
            victim.wait(60)
            self.add(role)


@pytest.fixture
def family() -> Iterator[Family]:
    with ExitStack() as stack:
        yield Family(stack)


@pytest.mark.parametrize(
    ("fault", "ended", "unexplained"),
    [
        pytest.param("", [], [], id="nothing ended"),
        pytest.param("", ["triton"], ["triton"], id="Triton, and nothing was done"),
        pytest.param("", ["preprocess"], ["preprocess"], id="a stub, and nothing was done"),
        pytest.param("", ["frontend"], ["frontend"], id="the frontend, and nothing was done"),
        pytest.param(WORKER, ["worker"], [], id="the worker that was struck"),
        pytest.param(WORKER, ["worker", "worker"], ["worker"], id="one worker more"),
        pytest.param(WORKER, ["worker", "triton"], ["triton"], id="Triton besides the worker"),
        pytest.param(TRITON, ["triton", "preprocess", "preprocess", "classifier"], [], id="Triton with its stubs"),
        pytest.param(TRITON, ["triton", "worker"], ["worker"], id="a worker besides Triton"),
    ],
)
def test_a_fault_explains_its_own_process(family: Family, fault: str, ended: list[str], unexplained: list[str]) -> None:
    endings = Endings()
    endings.look(family.processes)
    if fault:
        endings.fault("a fault", fault)
    family.replace(*ended)
    endings.look(family.processes)
    assert [line.partition(":")[0] for line in endings.unexplained] == unexplained


def test_each_fault_explains_one_end(family: Family) -> None:
    endings = Endings()
    endings.look(family.processes)
    for _ in range(2):
        endings.fault("a fault", TRITON)
        family.replace("triton")
        endings.look(family.processes)
    assert endings.unexplained == []
    family.replace("triton")
    endings.look(family.processes)
    assert len(endings.unexplained) == 1
