"""The service that is soaked: `birds serve` in a copy of the project, on free ports."""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from pathlib import Path

import psutil

from tools import ROOT
from tools.errors import ToolError
from tools.measure.processes import family
from tools.measure.project import copy_project, start_service
from tools.serve.ports import free_port, free_triton_ports
from tools.triton.control import TritonControl
from tools.triton.control_key import KEYS, key_path

REQUEST_TIMEOUT_SECONDS = 20
DOWNLOAD_TIMEOUT_SECONDS = 3
FRONTEND, WORKER, TRITON = "frontend", "worker", "triton"  # roles of processes
_WORKERS = 2
_START_SECONDS = 180
_STOP_SECONDS = 40
_READY = "Ctrl-C stops everything"


class SoakError(ToolError):
    """The soak cannot run; the text says why."""


class Service:
    """A running service; use as a context manager. Its copy of the project and all logs stay in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "serve.log"
        self.port, self.triton = free_port(), free_triton_ports()
        self.url = f"http://127.0.0.1:{self.port}"
        self.repository = folder / "project" / "model_repository"
        self._project = folder / "project"

    def __enter__(self) -> Service:
        shutil.rmtree(self._project, ignore_errors=True)
        copy_project(self._project)
        self._process = start_service(
            self._project,
            self.log,
            self.port,
            self.triton,
            BIRDS_WORKERS=str(_WORKERS),
            BIRDS_REQUEST_TIMEOUT=str(REQUEST_TIMEOUT_SECONDS),
            BIRDS_DOWNLOAD_TIMEOUT=str(DOWNLOAD_TIMEOUT_SECONDS),
            BIRDS_LOG_LEVEL="info",  # restarts.py reads the log lines about replaced workers
            BIRDS_ANSWER_CACHE_BYTES="40000",  # about ten answers, so that most images reach Triton
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._process.stop(_STOP_SECONDS)

    def ended(self) -> int | None:
        """The exit code of the service if it has ended, else None."""
        return self._process.poll()

    def control(self) -> TritonControl:
        """A client of its Triton's control API. The key stays the same when Triton is restarted."""
        file = key_path(self.triton.http, self._project / KEYS.relative_to(ROOT))
        key = file.read_text().split()[0]
        return TritonControl(f"http://127.0.0.1:{self.triton.http}", key, f"127.0.0.1:{self.triton.grpc}")

    def processes(self) -> dict[str, list[psutil.Process]]:
        """The processes that run now, by role: FRONTEND, WORKER, TRITON, or the model of a Python process."""
        found = defaultdict(list)
        for process, role in family(self._process.pid, "supervisor"):
            try:
                is_worker = role == FRONTEND and "multiprocessing.spawn" in " ".join(process.cmdline())
            except psutil.NoSuchProcess:
                continue
            found[WORKER if is_worker else role].append(process)
        return found

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while _READY not in self.log.read_text(errors="replace"):
            if self.ended() is not None or time.monotonic() > deadline:
                raise SoakError(f"the service did not start, see {self.log}")
            time.sleep(0.2)
