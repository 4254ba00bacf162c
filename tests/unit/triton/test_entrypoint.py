"""The container's process 1, with a small program in Triton's place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest

from frontend.limits.usable_cores import usable_cores
from tests.support.processes import alive, children, command_line, eventually
from tools import ROOT
from tools.serve.ports import free_port
from tools.triton import entrypoint
from tools.triton.locked_files import LockedFiles
from tools.triton.server_release import VERSION_VARIABLE, release_arguments

# It has two stubs, one without an instance, as while a configuration is completed, and writes to shared memory.
FAKE_TRITON = """
import http.server, os, pathlib, signal, subprocess, sys, threading
port, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])
prefix = next(a.rpartition("=")[2] for a in sys.argv if a.startswith("--backend-config=python"))
(folder / "shm" / f"{prefix}region").write_bytes(bytes(1000))
with (folder / "starts").open("a") as starts:
    starts.write(f"{os.getpid()}\\n")
def stub(model, *names):
    path = folder / "models" / model / "1" / "model.py"
    arguments = ["/backends/triton_python_backend_stub", str(path), "prefix", *names]
    return subprocess.Popen(arguments, executable=sys.executable)
names = [("preprocess", "preprocess_0_0"), ("classifier", "classifier_0_0"), ("classifier", "classifier")]
stubs = [stub(*name) for name in names if not (folder / "no_stubs").exists()]
def end(*_):
    for process in stubs:
        process.kill()
    os._exit(0)
signal.signal(signal.SIGTERM, end)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if (folder / "ready").exists() else 400)
        self.end_headers()
    def do_POST(self):
        with (folder / "probes").open("a") as probes:
            probes.write("+")
        self.rfile.read(int(self.headers["Content-Length"]))
        if (folder / "silent").exists():
            self.close_connection = True
            return
        broken = (folder / "broken").exists()
        self.send_response(500 if broken else 200)
        self.end_headers()
        self.wfile.write(b"Stub process 'preprocess_0_0' is not healthy." if broken else b"{}")
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
ENTRYPOINT = """
import sys
from pathlib import Path
from tools.triton import entrypoint
from tools.triton.locked_files import LockedFiles, remove_leftovers
port, folder, fake = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
entrypoint.STARTING = folder / "starting"
remove_leftovers(folder / "shm", "triton_birds_")
regions = LockedFiles(folder / "shm", "triton_birds_")
code = entrypoint.Container([sys.executable, "-c", fake, str(port), str(folder)], port, regions).run()
regions.close()
sys.exit(code)
"""


class Running:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        port = str(free_port())
        with (folder / "log").open("wb") as log:
            command = [sys.executable, "-c", ENTRYPOINT, port, str(folder), FAKE_TRITON]
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log)

    @property
    def starts(self) -> list[int]:
        path = self.folder / "starts"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def stub(self, name: str) -> int:
        return next(pid for pid in children(self.starts[-1]) if command_line(pid).split()[-1] == name)

    def is_ready(self) -> bool:
        return bool(self.starts) and not (self.folder / "starting").exists()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for model in ("preprocess", "classifier"):
        (tmp_path / "models" / model / "1").mkdir(parents=True)
        (tmp_path / "models" / model / "1" / "model.py").write_text("import time; time.sleep(99)")
    (tmp_path / "shm").mkdir()
    (tmp_path / "ready").touch()
    return tmp_path


@pytest.fixture
def running(folder: Path) -> Iterator[Running]:
    running = Running(folder)
    try:
        assert eventually(running.is_ready)
        yield running
    finally:
        running.process.terminate()
        running.process.wait(60)


def test_a_dead_stub_restarts_triton(running: Running) -> None:
    triton, stubs = running.starts[-1], children(running.starts[-1])
    os.kill(running.stub("preprocess_0_0"), signal.SIGKILL)
    assert eventually(lambda: len(running.starts) == 2)
    assert not any(alive(pid) for pid in (triton, *stubs))
    assert running.process.poll() is None
    assert len(list((running.folder / "shm").glob("*_region"))) == 1


def test_models_learn_the_number_of_cores(running: Running) -> None:
    environment = Path(f"/proc/{running.starts[-1]}/environ").read_bytes().split(b"\0")
    assert f"BIRDS_USABLE_CORES={usable_cores()}".encode() in environment


def test_a_stub_without_an_instance_may_end(running: Running) -> None:
    """Triton starts one to complete a configuration, and ends it."""
    os.kill(running.stub("classifier"), signal.SIGKILL)
    assert not eventually(lambda: len(running.starts) > 1, 1.5)  # it looks for stubs every 0.5 s


def test_triton_without_visible_stubs_is_probed_once(folder: Path) -> None:
    """A kernel may not list the children of a process. Then dead stubs are for the container's health check to find."""
    (folder / "no_stubs").touch()
    running = Running(folder)
    try:
        assert eventually(running.is_ready)
        assert not eventually(lambda: len((folder / "probes").read_text()) > 1, 1.5)  # it looks every 0.5 s
    finally:
        running.process.terminate()
        running.process.wait(60)


def test_triton_that_cannot_classify_ends_the_container(folder: Path) -> None:
    (folder / "broken").touch()
    running = Running(folder)
    assert running.process.wait(60) == 1
    assert not alive(running.starts[-1])
    log = (folder / "log").read_text()
    assert "cannot classify an image: Stub process 'preprocess_0_0' is not healthy" in log
    assert f"use NumPy {numpy.__version__}" in log
    assert "Giving up" in log


def test_slow_first_inference_is_awaited(folder: Path) -> None:
    (folder / "silent").touch()
    running = Running(folder)
    try:
        assert eventually(lambda: bool(running.starts), 60)
        assert not eventually(lambda: running.is_ready() or running.process.poll() is not None, 1)
        (folder / "silent").unlink()
        assert eventually(running.is_ready, 60)
        assert len(running.starts) == 1
    finally:
        running.process.terminate()
        running.process.wait(60)


def test_later_failure_restarts_triton(running: Running) -> None:
    """Once Triton has classified, its container must not end because one start goes wrong."""
    (running.folder / "broken").touch()
    os.kill(running.stub("preprocess_0_0"), signal.SIGKILL)
    assert eventually(lambda: len(running.starts) >= 3)
    (running.folder / "broken").unlink()
    assert eventually(running.is_ready, 60)
    assert running.process.poll() is None


def test_restarting_is_marked_for_the_probe(running: Running) -> None:
    (running.folder / "ready").unlink()
    os.kill(running.stub("classifier_0_0"), signal.SIGKILL)
    assert eventually((running.folder / "starting").exists)
    (running.folder / "ready").touch()
    assert eventually(lambda: not (running.folder / "starting").exists())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_everything(running: Running, number: signal.Signals) -> None:
    processes = [running.starts[-1], *children(running.starts[-1])]
    running.process.send_signal(number)
    assert running.process.wait(60) == 0
    assert not any(alive(pid) for pid in processes)
    assert list((running.folder / "shm").iterdir()) == []


def test_the_end_of_triton_is_the_end_of_the_container(running: Running) -> None:
    os.kill(running.starts[-1], signal.SIGKILL)
    assert running.process.wait(60) == 128 + signal.SIGKILL


def test_a_killed_container_leaves_nothing_to_the_next(folder: Path) -> None:
    """/dev/shm survives a container's restart in a pod; another container's files in it stay."""
    killed = Running(folder)
    assert eventually(killed.is_ready)
    family = [killed.starts[-1], *children(killed.starts[-1])]
    killed.process.kill()
    killed.process.wait()
    for pid in family:  # a container ends with process 1
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not any(alive(pid) for pid in family))
    left = set((folder / "shm").iterdir())
    other = LockedFiles(folder / "shm", "triton_birds_")
    other.path("region").touch()
    again = Running(folder)
    try:
        assert eventually(lambda: len(again.starts) == 2 and again.is_ready())
        assert len(left) == 2
        assert not any(path.exists() for path in left)
        assert other.path("region").exists()
    finally:
        again.process.terminate()
        again.process.wait(60)


def test_unknown_control_api_ends_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "birds").mkdir()
    (tmp_path / "birds" / "config.pbtxt").touch()
    monkeypatch.setattr(entrypoint, "_REPOSITORY", tmp_path)
    monkeypatch.setenv("BIRDS_TRITON_OPEN_APIS", "trace, shared_memory")
    assert entrypoint.main([]) == 1
    assert "unknown shared_memory; use model-repository, shared-memory, trace, logging" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (None, []),
        ("2.51.0", []),
        ("2.59.1", ["--http-max-input-size=67108864"]),
        ("2.71.0", ["--http-max-input-size=67108864", "--allow-client-shm=true"]),
        ("main", []),
    ],
)
def test_options_follow_the_release_of_triton(version: str | None, expected: list[str]) -> None:
    environment = {} if version is None else {VERSION_VARIABLE: version}
    assert release_arguments(environment, ["shared-memory"]) == expected
    assert release_arguments(environment, []) == expected[:1]
