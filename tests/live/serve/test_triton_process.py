"""A tritonserver process starts, explains why it cannot, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import alive, command_line, descendants, eventually, leftovers
from tools.serve.ports import free_triton_ports
from tools.serve.triton_layout import TritonError
from tools.serve.triton_process import TritonServer

SERVE = """
import sys, time
from pathlib import Path
from tools.serve.triton_process import TritonServer
from tools.triton.arguments import Ports
log, repository, *ports = sys.argv[1:]
server = TritonServer(Ports(*map(int, ports)), Path(log), Path(repository))
server.start()
server.wait_until_ready()
print(server.pid, flush=True)
time.sleep(60)
"""


def test_a_broken_model_ends_the_start_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "repository" / "broken" / "1").mkdir(parents=True)
    (tmp_path / "repository" / "broken" / "config.pbtxt").write_text('backend: "python" max_batch_size: "x"')
    with TritonServer(free_triton_ports(), tmp_path / "log", tmp_path / "repository") as server:
        with pytest.raises(TritonError, match=r"Triton ended while starting: .*broken") as failed:
            server.wait_until_ready()
        assert str(server.log) in str(failed.value)


def test_a_killed_stub_leaves_nothing_behind(tiny_repository: Path, tmp_path: Path) -> None:
    with TritonServer(free_triton_ports(), tmp_path / "log", tiny_repository) as server:
        server.wait_until_ready()
        family = descendants(server.pid)
        stubs = [pid for pid in family if "stub" in command_line(pid)]
        assert len(stubs) >= 2
        os.kill(stubs[0], signal.SIGKILL)
    assert not any(alive(pid) for pid in [server.pid, *family])
    assert not leftovers()


def test_a_killed_parent_leaves_no_process_and_no_file(tiny_repository: Path, tmp_path: Path) -> None:
    """Not even if Triton is frozen and its stubs cannot notice; the next start removes the files."""
    ports = free_triton_ports()
    numbers = [str(port) for port in (ports.http, ports.grpc, ports.metrics)]
    command = [sys.executable, "-c", SERVE, str(tmp_path / "log"), str(tiny_repository), *numbers]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        triton = int(parent.stdout.readline())
        family = [triton, *descendants(triton)]
        assert len(family) >= 3  # Triton and a stub for each model
        os.kill(triton, signal.SIGSTOP)
        parent.kill()
    assert eventually(lambda: not any(alive(pid) for pid in family))
    assert leftovers(), "a frozen Triton cannot remove its shared memory"
    with TritonServer(free_triton_ports(), tmp_path / "log", tiny_repository):
        pass
    assert not leftovers()


def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(TritonError, match=r"^Triton cannot be started: .*/file'$"),
        TritonServer(free_triton_ports(), tmp_path / "file" / "log"),
    ):
        pass
    assert not leftovers()


def test_the_previous_log_may_be_gone(tiny_repository: Path, tmp_path: Path) -> None:
    with TritonServer(free_triton_ports(), tmp_path / "log", tiny_repository) as server:
        server.log.unlink()
        server.stop(0)
        server.start()
        assert server.log.exists()
