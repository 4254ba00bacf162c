"""The servers that are measured. Each is started as its users would start it, on free ports."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TypeVar

from tools import ROOT
from tools.errors import ToolError
from tools.measure.bench import baseline
from tools.measure.bench.engine_variant import EngineVariant, apply_variant
from tools.measure.bench.results import BASELINE
from tools.measure.perf.analyzer import Server
from tools.measure.project import copy_project, start_service
from tools.serve.child_process import ChildProcess
from tools.serve.ports import free_port, free_triton_ports
from tools.triton.direct_http import open_directly

T = TypeVar("T", bound="Target")

_START_SECONDS = 120
_STOP_SECONDS = 30


class TargetFailed(ToolError):
    """A server did not start or does not answer; the text has the end of its log."""


class Target(ABC):
    """One server that classifies image URLs; use as a context manager."""

    name: str
    role: str  # of the started process, and of its children without a known role
    triton: Server | None = None

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="birds-bench-"))
        self._log = self._folder / "log"
        self._process: ChildProcess | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self: T) -> T:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @abstractmethod
    def _start(self) -> ChildProcess:
        """Choose ports and start the process."""

    def start(self, images: list[str]) -> float:
        """Start the server; returns the seconds until a call with `images` was answered. Raises TargetFailed."""
        started = time.perf_counter()
        self._process = self._start()
        while (passed := time.perf_counter() - started) < _START_SECONDS:
            if self._process.poll() is not None:
                break
            if self._answers(images):
                return time.perf_counter() - started
            time.sleep(0.02)
        raise TargetFailed(f"{self.name} has not answered after {passed:.0f} s:\n{self.log()}")

    def log(self) -> str:
        """The last lines of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop(_STOP_SECONDS)
            self._process = None

    def _answers(self, images: list[str]) -> bool:
        body = json.dumps({"images": images, "k": 3}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        try:
            with open_directly(request, 30) as response:
                answer = json.load(response)
        except (urllib.error.URLError, OSError):
            return False
        if len(answer["successful_results"]) != len(images):
            raise TargetFailed(f"{self.name} answers {answer}")
        return True


class Baseline(Target):
    """The design that was replaced."""

    name = BASELINE
    role = "workers"

    def _start(self) -> ChildProcess:
        self.port = free_port()
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", baseline.__name__, str(self.port)]
            return ChildProcess(command, dict(os.environ), log, ROOT)

    def start(self, images: list[str]) -> float:
        seconds = super().start(images)
        deadline = time.monotonic() + _START_SECONDS
        while self._log.read_text(errors="replace").count(baseline.READY_SIGN) < baseline.WORKERS:
            if time.monotonic() > deadline:
                raise TargetFailed(f"not all workers of the baseline have started:\n{self.log()}")
            time.sleep(0.1)
        return seconds


class Service(Target):
    """This service with one engine variant: `birds serve` in a copy of the project with edited parameters."""

    role = "launcher"

    def __init__(self, variant: EngineVariant) -> None:
        super().__init__()
        self.name = variant.name
        self._project = self._folder / "project"
        copy_project(self._project)
        apply_variant(variant, self._project / "model_repository")

    def _start(self) -> ChildProcess:
        ports, self.port = free_triton_ports(), free_port()
        self.triton = Server(f"127.0.0.1:{ports.http}", f"127.0.0.1:{ports.grpc}")
        return start_service(self._project, self._log, self.port, ports, BIRDS_MAX_IMAGES="1000")
