"""The servers that are measured. Each is started as its users would start it, on free ports."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

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

_START_SECONDS = 120
_STOP_SECONDS = 30


@dataclass(frozen=True)
class Target:
    """A running server that classifies image URLs."""

    name: str
    role: str  # of the process `pid`, and of its children without a known role
    url: str
    pid: int
    first_answer_seconds: float  # from the start of the process to the answer to its first call
    triton: Server | None = None


@contextmanager
def run_baseline(images: list[str]) -> Iterator[Target]:
    """Run the design that was replaced. Its first call is for `images`. Raises ToolError if it does not start."""
    port = free_port()
    with TemporaryDirectory(prefix="birds-bench-") as folder:
        log = Path(folder, "log")
        with log.open("wb") as output:
            process = ChildProcess([sys.executable, "-m", baseline.__name__, str(port)], os.environ, output, ROOT)
        with _running(process, log, images, BASELINE, "workers", port) as target:
            deadline = time.monotonic() + _START_SECONDS
            while log.read_text(errors="replace").count(baseline.READY_SIGN) < baseline.WORKERS:
                if time.monotonic() > deadline:
                    raise _failed(target.name, log, "has not started all workers")
                time.sleep(0.1)
            yield target


@contextmanager
def run_service(variant: EngineVariant, images: list[str]) -> Iterator[Target]:
    """Run `birds serve` with one engine variant, in a copy of the project. Otherwise as `run_baseline`."""
    port, ports = free_port(), free_triton_ports()
    triton = Server(f"127.0.0.1:{ports.http}", f"127.0.0.1:{ports.grpc}")
    # Killed processes may still remove their files, so a file that is missing is not an error.
    with TemporaryDirectory(prefix="birds-bench-", ignore_cleanup_errors=True) as folder:
        project, log = Path(folder, "project"), Path(folder, "log")
        copy_project(project)
        apply_variant(variant, project / "model_repository")
        process = start_service(project, log, port, ports, BIRDS_MAX_IMAGES="1000")
        with _running(process, log, images, variant.name, "launcher", port, triton) as target:
            yield target


@contextmanager
def _running(
    process: ChildProcess, log: Path, images: list[str], name: str, role: str, port: int, triton: Server | None = None
) -> Iterator[Target]:
    """Wait until a call for `images` is answered. Stop the server at the end."""
    started, url = time.perf_counter(), f"http://127.0.0.1:{port}/"
    try:
        while not _answers(name, url, images):
            passed = time.perf_counter() - started
            if passed > _START_SECONDS or process.poll() is not None:
                raise _failed(name, log, f"has not answered after {passed:.0f} s")
            time.sleep(0.02)
        yield Target(name, role, url, process.pid, time.perf_counter() - started, triton)
    finally:
        process.stop(_STOP_SECONDS)


def _answers(name: str, url: str, images: list[str]) -> bool:
    body = json.dumps({"images": images, "k": 3}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with open_directly(request, 30) as response:
            answer = json.load(response)
    except OSError:  # it does not listen yet, or refuses
        return False
    if len(answer["successful_results"]) != len(images):
        raise ToolError(f"{name} answers {answer}")
    return True


def _failed(name: str, log: Path, reason: str) -> ToolError:
    end = log.read_text(errors="replace").splitlines()[-15:]
    return ToolError("\n".join([f"{name} {reason}:", *end]))
