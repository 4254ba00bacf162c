"""The container's process 1 with a real Triton: a dead Python process interrupts the service for seconds only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.support.processes import alive, children, command_line, descendants, eventually, leftovers
from tools import ROOT
from tools.serve.ports import free_triton_ports
from tools.triton.arguments import SHARED_MEMORY
from tools.triton.control import TritonControl

PROGRAM = """
import os, sys
from pathlib import Path
from tools.serve.triton_layout import find_wheel, triton_environment
from tools.serve.triton_process import TritonServer, _Files
from tools.triton import entrypoint
from tools.triton.arguments import Ports
from tools.triton.locked_files import LockedFiles
folder, repository, *ports = sys.argv[1:]
entrypoint.STARTING = Path(folder, "starting")
if os.environ.get("NUMPY_FIX"):
    from tools.serve import triton_layout
    triton_layout._NUMPY_FIX = Path(os.environ["NUMPY_FIX"])
server = TritonServer(Ports(*map(int, ports)), Path(folder, "log"), Path(repository))
files = _Files(find_wheel(), Path(repository), server.ports)
os.environ.update(triton_environment(find_wheel(), files.scratch))
code = entrypoint.Container(server._command(find_wheel(), files), server.ports.http, files.regions).run()
files.close()
sys.exit(code)
"""


def test_a_dead_stub_is_replaced_within_seconds(tiny_repository: Path, tmp_path: Path) -> None:
    ports = free_triton_ports()
    control = TritonControl(f"http://127.0.0.1:{ports.http}")
    numbers = [str(port) for port in (ports.http, ports.grpc, ports.metrics)]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(tiny_repository), *numbers],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    ) as entrypoint:
        assert eventually((tmp_path / "starting").exists)
        assert eventually(lambda: not (tmp_path / "starting").exists())
        control.probe("birds")
        (triton,) = (pid for pid in children(entrypoint.pid) if "tritonserver" in command_line(pid).split()[0])
        stub = next(pid for pid in children(triton) if "preprocess_0_0" in command_line(pid))
        died = time.monotonic()
        os.kill(stub, signal.SIGKILL)
        assert eventually(lambda: not alive(triton))
        assert eventually(lambda: _classifies(control))
        print(f"recovered after {time.monotonic() - died:.1f} s")
        family = descendants(entrypoint.pid)
        entrypoint.terminate()
        assert entrypoint.wait(60) == 0
    assert eventually(lambda: not any(alive(pid) for pid in family))
    assert not [path for path in leftovers() if path.parent == SHARED_MEMORY]


def test_stub_built_for_another_numpy_ends_the_container(tiny_repository: Path, tmp_path: Path) -> None:
    """The wheel's stub was built for NumPy 1. Without our fix it behaves like the stub of an unsuitable image."""
    empty = tmp_path / "numpy2_stub_fix.py"
    empty.touch()
    ports = free_triton_ports()
    numbers = [str(port) for port in (ports.http, ports.grpc, ports.metrics)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(tiny_repository), *numbers],
        cwd=ROOT,
        env={**os.environ, "NUMPY_FIX": str(empty)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    # 1, or that of Triton, which itself may crash when a stub dies during its start.
    assert done.returncode in (1, 128 + signal.SIGSEGV, 128 + signal.SIGABRT), done.stderr
    assert "use NumPy 2" in done.stderr


def _classifies(control: TritonControl) -> bool:
    try:
        control.probe("birds", 2)
    except Exception:
        return False
    return True
