"""The servers that are measured. Each is started as its users would start it, on free ports."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
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
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self._folder = Path(tempfile.mkdtemp(prefix="birds-bench-"))
        self._log = self._folder / "log"
        self._process: ChildProcess | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self: T) -> T:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.stop(_STOP_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)

    @abstractmethod
    def _start(self) -> ChildProcess:
        """Start the process."""

    def start(self, images: list[str]) -> float:
        """Start the server; returns the seconds until a call with `images` was answered. Raises TargetFailed."""
        started = time.perf_counter()
        self._process = self._start()
        while (passed := time.perf_counter() - started) < _START_SECONDS and self._process.poll() is None:
            if self._answers(images):
                return time.perf_counter() - started
            time.sleep(0.02)
        raise self._failed(f"has not answered after {passed:.0f} s")

    def _answers(self, images: list[str]) -> bool:
        body = json.dumps({"images": images, "k": 3}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        try:
            with open_directly(request, 30) as response:
                answer = json.load(response)
        except OSError:  # it does not listen yet, or refuses
            return False
        if len(answer["successful_results"]) != len(images):
            raise TargetFailed(f"{self.name} answers {answer}")
        return True

    def _failed(self, reason: str) -> TargetFailed:
        end = self._log.read_text(errors="replace").splitlines()[-15:]
        return TargetFailed("\n".join([f"{self.name} {reason}:", *end]))


class Baseline(Target):
    """The design that was replaced."""

    name = BASELINE
    role = "workers"

    def _start(self) -> ChildProcess:
        with self._log.open("wb") as log:
            return ChildProcess([sys.executable, "-m", baseline.__name__, str(self.port)], os.environ, log, ROOT)

    def start(self, images: list[str]) -> float:
        seconds = super().start(images)
        deadline = time.monotonic() + _START_SECONDS
        while self._log.read_text(errors="replace").count(baseline.READY_SIGN) < baseline.WORKERS:
            if time.monotonic() > deadline:
                raise self._failed("has not started all workers")
            time.sleep(0.1)
        return seconds


class Service(Target):
    """This service with one engine variant: `birds serve` in a copy of the project with edited parameters."""

    role = "launcher"

    def __init__(self, variant: EngineVariant) -> None:
        super().__init__()
        self.name = variant.name
        self._ports = free_triton_ports()
        self.triton = Server(f"127.0.0.1:{self._ports.http}", f"127.0.0.1:{self._ports.grpc}")
        self._project = self._folder / "project"
        copy_project(self._project)
        apply_variant(variant, self._project / "model_repository")

    def _start(self) -> ChildProcess:
        return start_service(self._project, self._log, self.port, self._ports, BIRDS_MAX_IMAGES="1000")
