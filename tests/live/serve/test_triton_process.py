"""One tritonserver child: it starts, it tells why it cannot, and it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import SHARED_MEMORY, alive, command_line, descendants, eventually, regions
from tools.serve import libpython, triton_process
from tools.serve.ports import free_triton_ports
from tools.serve.triton_process import TritonError, TritonServer
from tools.triton.control_key import KEYS


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
        stubs = [pid for pid in family if "stub" in command_line(pid)]
        assert len(stubs) >= 3
        os.kill(stubs[0], signal.SIGKILL)
    assert not any(alive(pid) for pid in [server.pid, *family])
    assert not list(SHARED_MEMORY.glob(f"triton_birds_{os.getpid()}_{server.ports.grpc}_*"))


def test_triton_ends_with_a_parent_that_was_killed_outright(tiny_repository: Path, tmp_path: Path) -> None:
    ports = free_triton_ports()
    program = f"""
from pathlib import Path
from tools.triton.arguments import Ports
from tools.serve.triton_process import TritonServer
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


def test_what_a_server_left_whose_parent_was_killed_is_removed_by_the_next(
    tiny_repository: Path, tmp_path: Path
) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    KEYS.mkdir(parents=True, exist_ok=True, mode=0o700)
    key, another = KEYS / "triton-1.key", KEYS / "triton-2.key"
    key.write_text(f"key\n{gone.pid}\n")
    another.write_text(f"key\n{os.getpid()}\n")
    left = [key, SHARED_MEMORY / f"triton_birds_{gone.pid}_1_region", Path("/tmp") / f"birds-triton-{gone.pid}-x"]
    left[1].touch()
    left[2].mkdir()
    with TritonServer(free_triton_ports(), tmp_path / "log", tiny_repository):
        assert not any(path.exists() for path in left)
        assert another.exists(), "its server lives"
    another.unlink()


def test_what_cannot_be_removed_keeps_no_server_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    monkeypatch.setattr(triton_process, "_SCRATCH_PARENT", tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f"birds-triton-{gone.pid}-x").symlink_to(elsewhere)  # what rmtree refuses
    triton_process._remove_leftovers()
    assert elsewhere.exists()


def test_triton_is_not_told_the_api_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIRDS_API_KEYS", "key")
    monkeypatch.setattr(libpython, "find", lambda *_: tmp_path)
    assert "BIRDS_API_KEYS" not in triton_process._environment(tmp_path, tmp_path)


def test_empty_folders_of_killed_tritons_are_removed_while_none_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton_process, "_SCRATCH_PARENT", tmp_path)
    for name in ("python_env_a", "python_env_b/unpacked", "another"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(triton_process, "_triton_lives", lambda: True)
    triton_process._remove_empty_environments()
    assert (tmp_path / "python_env_a").exists()
    monkeypatch.setattr(triton_process, "_triton_lives", lambda: False)
    triton_process._remove_empty_environments()
    assert {path.name for path in tmp_path.iterdir()} == {"python_env_b", "another"}


def test_a_living_triton_is_seen(triton: TritonServer) -> None:
    assert triton_process._triton_lives()


def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(TritonError, match=r"^Triton cannot be started: .*/file'$"),
        TritonServer(free_triton_ports(), tmp_path / "file" / "log"),
    ):
        pass


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
