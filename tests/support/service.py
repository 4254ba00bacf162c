"""`birds serve` as a user runs it, in a project folder of its own with the tiny classifier."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import alive, command_line, descendants, eventually, leftovers
from tools import ROOT
from tools.serve.ports import free_port, free_triton_ports


class Service:
    """A running `birds serve`, and its output."""

    def __init__(
        self, process: subprocess.Popen[bytes], project: Path, port: int, triton: tuple[int, int, int]
    ) -> None:
        self.process = process
        self.project = project
        self.port = port
        self.triton_ports = triton
        self.lines: list[str] = []
        self._reading = True
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def triton_url(self) -> str:
        return f"http://127.0.0.1:{self.triton_ports[0]}"

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def family(self) -> list[int]:
        """All processes that it has now."""
        return descendants(self.process.pid)

    def named(self, *names: str) -> list[int]:
        """The descendants whose command line has one of these."""
        return [pid for pid in self.family if any(name in command_line(pid) for name in names)]

    def wait_for(self, pattern: str, timeout_seconds: float = 180, since: int = 0) -> re.Match[str]:
        """The first line from number `since` on that matches. Raises AssertionError with the whole output."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            for line in self.lines[since:]:
                if match := re.search(pattern, line):
                    return match
            if not self._reader.is_alive():
                break
            time.sleep(0.05)
        said = "\n".join(line for line in self.lines if not line.startswith("INFO:"))
        raise AssertionError(f"it did not say {pattern!r}:\n{said}")

    def wait_until_ended(self) -> int:
        """The exit code, once all output has been read."""
        code = self.process.wait(60)
        self._reader.join()
        return code

    def stop_reading(self) -> None:
        """Close our end of its output pipe, so that it gets EPIPE from now on."""
        self._reading = False
        self._reader.join()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as pipe:
            text = ""
            while self._reading:
                if not select.select([pipe], [], [], 0.1)[0]:
                    continue
                if not (chunk := os.read(pipe.fileno(), 65536)):
                    return
                *lines, text = (text + chunk.decode(errors="replace")).split("\n")
                self.lines += lines


def make_project(folder: Path, repository: Path) -> Path:
    """A checkout whose model repository is a copy of `repository`: the commands, without the real weights."""
    for name in ("backends", "frontend", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(repository, folder / "model_repository")
    return folder


def command(triton_ports: tuple[int, int, int]) -> list[str]:
    names = ("http", "grpc", "metrics")
    ports = [f"--triton-{name}-port={port}" for name, port in zip(names, triton_ports, strict=True)]
    return [sys.executable, "-m", "tools.cli", "serve", *ports]


def environment(port: int, **settings: str) -> dict[str, str]:
    return {**os.environ, "BIRDS_PORT": str(port), "BIRDS_DOWNLOAD_ALLOW_NETWORKS": "127.0.0.0/8", **settings}


@contextmanager
def serving(project: Path, prefix: Sequence[str] = (), **settings: str) -> Iterator[Service]:
    """Yield a service that is ready. `prefix` is a command that runs it, such as unshare."""
    port, ports = free_port(), free_triton_ports()
    triton_ports = (ports.http, ports.grpc, ports.metrics)
    process = subprocess.Popen(
        [*prefix, *command(triton_ports)],
        cwd=project,
        env=environment(port, **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
    )
    service = Service(process, project, port, triton_ports)
    try:
        service.wait_for("^Ctrl-C")
        yield service
    finally:
        process.send_signal(signal.SIGTERM)
        service.wait_until_ended()


def nothing_is_left(service: Service, family: list[int]) -> bool:
    for port in (service.port, *service.triton_ports):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return False
    key = service.project / ".cache" / "control" / f"triton-{service.triton_ports[0]}.key"
    return not leftovers() and not key.exists() and not any(alive(pid) for pid in family)


def ends_with_nothing_left(service: Service, number: signal.Signals = signal.SIGTERM) -> bool:
    """Stop the service. Returns whether it ended with exit code 0 and left nothing behind."""
    family = service.family
    service.process.send_signal(number)
    return service.wait_until_ended() == 0 and eventually(lambda: nothing_is_left(service, family))
