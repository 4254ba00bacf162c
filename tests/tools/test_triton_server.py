"""One tritonserver child: it starts, it tells why it cannot, and it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ports import free_triton_ports
from tools import libpython
from tools.triton_server import TritonError, TritonServer

SHARED_MEMORY = Path("/dev/shm")


def regions(pid: int) -> list[Path]:
    return list(SHARED_MEMORY.glob(f"triton_birds_{pid}_*"))


def eventually(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, by Linux' own list of children."""
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return children + [below for child in children for below in descendants(child)]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text()


def test_a_repository_without_models_ends_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "repository" / "broken" / "1").mkdir(parents=True)
    (tmp_path / "repository" / "broken" / "config.pbtxt").write_text('backend: "python" max_batch_size: "x"')
    with TritonServer(free_triton_ports(), tmp_path / "log", tmp_path / "repository") as server:
        with pytest.raises(TritonError, match=r"Triton ended while starting: .*broken") as failed:
            server.wait_until_ready()
        assert str(server.log) in str(failed.value)


def test_a_stub_killed_by_force_does_not_stop_the_server_from_ending_cleanly(
    tiny_repository: Path, tmp_path: Path
) -> None:
    with TritonServer(free_triton_ports(), tmp_path / "log", tiny_repository) as server:
        server.wait_until_ready()
        family = descendants(server.pid)
        stubs = [pid for pid in family if b"stub" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(stubs) >= 3
        os.kill(stubs[0], signal.SIGKILL)
    assert not any(alive(pid) for pid in [server.pid, *family])
    assert not list(SHARED_MEMORY.glob(f"triton_birds_{os.getpid()}_{server.ports.grpc}_*"))


def test_triton_ends_with_a_parent_that_was_killed_outright(tiny_repository: Path, tmp_path: Path) -> None:
    ports = free_triton_ports()
    program = f"""
from pathlib import Path
from tools.triton_server import Ports, TritonServer
import time
server = TritonServer({ports!r}, Path({str(tmp_path / "log")!r}), Path({str(tiny_repository)!r}))
server.start(); server.wait_until_ready(); print(server.pid, flush=True); time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        triton = int(parent.stdout.readline())
        family = [triton, *descendants(triton)]
        assert regions(parent.pid)
        parent.kill()
    assert eventually(lambda: not any(alive(pid) for pid in family))
    assert not regions(parent.pid)


def test_a_missing_libpython_is_one_line_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libpython, "_links", lambda *_: False)
    monkeypatch.setattr(libpython, "_unpack_debian_package", lambda: None)
    with (
        pytest.raises(TritonError, match=r"^libpython3\.\d+\.so\.1\.0 is missing.*: sudo apt-get .*install libpython3"),
        TritonServer(free_triton_ports(), tmp_path / "log"),
    ):
        pass


def test_the_debian_package_supplies_a_libpython_without_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for a package that every Debian release of this machine's has; linking is another test's business."""
    monkeypatch.setattr(libpython, "_CACHE", tmp_path / "cache")
    monkeypatch.setattr(libpython, "_PACKAGE", _installable_libpython())
    libpython._unpack_debian_package()
    assert [path.name for path in (tmp_path / "cache").iterdir()]


def _installable_libpython() -> str:
    names = subprocess.run(["apt-cache", "pkgnames", "libpython3."], capture_output=True, text=True, check=False).stdout
    runtime = sorted(name for name in names.split() if name.removeprefix("libpython3.").isdigit())
    if not runtime:
        pytest.skip("apt has no package lists here")
    return runtime[0]
