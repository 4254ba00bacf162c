"""The service under test: `birds serve` on free ports, and its processes by role."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import TracebackType

import psutil

from tools import ROOT
from tools.errors import ToolError
from tools.serve.child_process import ChildProcess
from tools.serve.ports import free_port, free_triton_ports

REQUEST_TIMEOUT_SECONDS = 20
DOWNLOAD_TIMEOUT_SECONDS = 3
WORKERS = 2
_START_SECONDS = 180
_STOP_SECONDS = 40
_READY = "Ctrl-C stops everything"


class SoakError(ToolError):
    """The soak cannot run; the text says why."""


class Service:
    """A running service; use as a context manager."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.port, self.triton = free_port(), free_triton_ports()
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Service:
        ports = {"http": self.triton.http, "grpc": self.triton.grpc, "metrics": self.triton.metrics}
        command = [
            sys.executable,
            "-m",
            "tools.cli",
            "serve",
            *(f"--triton-{name}-port={port}" for name, port in ports.items()),
        ]
        environment = {
            **os.environ,
            "BIRDS_HOST": "127.0.0.1",
            "BIRDS_PORT": str(self.port),
            "BIRDS_WORKERS": str(WORKERS),
            "BIRDS_REQUEST_TIMEOUT": str(REQUEST_TIMEOUT_SECONDS),
            "BIRDS_DOWNLOAD_TIMEOUT": str(DOWNLOAD_TIMEOUT_SECONDS),
            "BIRDS_DOWNLOAD_ALLOW_NETWORKS": "127.0.0.0/8",
            "BIRDS_ANSWER_CACHE_BYTES": "40000",  # about ten answers, so that most images reach Triton
        }
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            self._process = ChildProcess(command, environment, output, ROOT)
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self._process.stop(_STOP_SECONDS)

    def ended(self) -> int | None:
        """The exit code of the service if it has ended, else None."""
        return self._process.poll()

    def processes(self) -> dict[str, list[psutil.Process]]:
        """The processes that run now, by role."""
        found: dict[str, list[psutil.Process]] = {}
        try:
            everything = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return found
        frontends = set()
        for process in everything:
            try:
                command, parent = process.cmdline(), process.ppid()
            except psutil.Error:
                continue
            if "frontend" in command:
                frontends.add(process.pid)
            if role := _role(command, parent in frontends):
                found.setdefault(role, []).append(process)
        return found

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while _READY not in self.log.read_text(errors="replace"):
            if self.ended() is not None or time.monotonic() > deadline:
                raise SoakError(f"the service did not start, see {self.log}")
            time.sleep(0.2)


def _role(command: list[str], is_worker: bool) -> str | None:
    if not command:
        return None
    if Path(command[0]).name == "tritonserver":
        return "triton"
    if "triton_python_backend_stub" in command[0]:
        return Path(command[1]).parts[-3]  # <model>/<version>/model.py
    if "frontend" in command:
        return "frontend"
    return "worker" if is_worker and "multiprocessing.spawn" in " ".join(command) else None


def run_image_host(port: int) -> ChildProcess:
    """The image host as a process of its own, so that it can be killed."""
    return ChildProcess([sys.executable, "-m", "tools.measure.soak.image_host", str(port)], os.environ, folder=ROOT)
