"""Child processes end with the program that started them, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from tests.support.processes import alive, eventually
from tools import ROOT
from tools.serve import child_process

GRANDCHILD = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"
)
CHILD = f"""
import subprocess, sys
grandchild = subprocess.Popen([sys.executable, "-c", {GRANDCHILD!r}], stdout=subprocess.PIPE, start_new_session=True)
grandchild.stdout.readline()
print(grandchild.pid, flush=True)
grandchild.wait()
"""
PARENT = f"""
import os, sys, time
from tools.serve import child_process
child_process._WATCHDOG_GRACE_SECONDS = 1
child = child_process.ChildProcess([sys.executable, "-c", {CHILD!r}], os.environ)
print(child.pid, flush=True)
time.sleep(99)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_every_descendant_ends_with_a_killed_program(number: signal.Signals) -> None:
    """Also one in another session that ignores SIGTERM and whose parent has ended before."""
    with subprocess.Popen([sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child, grandchild = sorted(int(parent.stdout.readline()) for _ in range(2))
        assert alive(child)
        assert alive(grandchild)
        parent.send_signal(number)
    assert eventually(lambda: not alive(child) and not alive(grandchild))


def test_the_watchdog_ends_with_the_program() -> None:
    program = """
import os
from tools.serve import child_process
child_process.ChildProcess(["true"], os.environ).wait()
print(child_process._watchdog.pid)
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert eventually(lambda: not alive(int(ended.stdout)))


def test_children_start_from_several_threads() -> None:
    """A preexec_fn could deadlock here."""
    codes: list[int] = []

    def start() -> None:
        codes.append(child_process.ChildProcess(["true"], os.environ).wait())

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 8
