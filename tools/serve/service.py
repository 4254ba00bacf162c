"""Runs the whole service in the foreground: builds the classifier if there is none, then Triton and the frontend.

Ctrl-C or SIGTERM stops both. A process that dies, hangs or fails its health checks is restarted
(docs/reliability.md). If one of them does not become ready at the first start, the service ends.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import time
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from types import FrameType

from frontend.limits.usable_cores import usable_cores, worker_count
from frontend.settings import Settings
from tools import ROOT
from tools.errors import ToolError
from tools.models.options import FALLBACK
from tools.models.publishing import clear_away
from tools.models.repository import MODEL_REPOSITORY, read_default, read_versions
from tools.serve.child_process import ChildProcess
from tools.serve.frontend_process import FrontendProcess
from tools.serve.ports import host_port, problems_with_ports
from tools.serve.supervisor import SupervisedProcess, Supervisor
from tools.serve.triton_process import TritonServer
from tools.triton.arguments import Ports

LOGS = ROOT / ".cache" / "log"
_FRONTEND_START_TIMEOUT_SECONDS = 60
_FRONTEND_GRACE_SECONDS = 10
_BUILD_GRACE_SECONDS = 10
_TICK_SECONDS = 0.2
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ServeError(ToolError):
    """The service cannot start or continue; the text says what to do."""


class StopSignal(BaseException):
    """A stop signal arrived. Raised in the main thread at any point."""


def run(ports: Ports) -> None:
    """Serve until a signal arrives. Raises ServeError, TritonError, or pydantic's ValidationError for a setting."""
    _replace_unprintable_characters()
    logging.basicConfig(format="serve: %(message)s")
    try:
        for number in _STOP_SIGNALS:
            signal.signal(number, _stop)
        serve(Settings(), ports)
    except StopSignal:
        _print("Stopped.")


def serve(settings: Settings, ports: Ports) -> None:
    """Start everything and keep it running until a signal raises StopSignal.

    Raises ServeError or TritonError if the start fails.
    """
    started = time.monotonic()
    _require_writable_folders()
    if problems := problems_with_ports(settings, ports):
        raise ServeError("; ".join(problems))
    if not any(version.labels for version in read_versions().values()):
        _build_classifier()
    _report_fallback()
    _print("Starting Triton …")
    triton = TritonServer(ports, LOGS / f"triton-{ports.http}.log")
    cores = usable_cores()
    workers = settings.workers if "workers" in settings.model_fields_set else worker_count(cores)
    frontend = FrontendProcess(settings, triton.grpc_url, workers)
    try:
        triton.start()
        triton.wait_until_ready()
        _print("Starting the frontend …")
        frontend.start()
        _wait_for_frontend(frontend)
        url = f"http://{host_port(settings.host, settings.port)}"
        _print(_banner(url, triton, time.monotonic() - started, cores, workers))
        _supervise(triton, frontend)
    finally:
        _ignore_signals()
        _print("Stopping …")
        frontend.stop(_FRONTEND_GRACE_SECONDS)
        triton.close()


def _supervise(*processes: SupervisedProcess) -> None:
    """Keep the processes running until a signal arrives, which takes effect between two steps."""
    # The lock of a threading.Event would block forever if a signal arrives while the main thread holds it.
    signals: SimpleQueue[int] = SimpleQueue()
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda number, _: signals.put(number))
    supervisors = [Supervisor(process, _print_with_time) for process in processes]
    while not _arrived(signals, _TICK_SECONDS):
        for supervisor in supervisors:
            supervisor.tick()
    for supervisor in supervisors:
        supervisor.end()
    raise StopSignal


def _arrived(signals: SimpleQueue[int], timeout_seconds: float) -> bool:
    try:
        signals.get(timeout=timeout_seconds)
    except Empty:
        return False
    return True


def _require_writable_folders() -> None:
    """Raise ServeError if the service cannot write what it keeps in the checkout."""
    cache = ROOT / ".cache"
    needed = [MODEL_REPOSITORY, cache if cache.exists() else ROOT]
    if unwritable := [str(folder) for folder in needed if not os.access(folder, os.W_OK)]:
        raise ServeError(
            f"{' and '.join(unwritable)} must be writable: model_repository holds the classifier's versions, "
            f".cache the logs and the control key. Make them writable, or copy {ROOT} to a folder of yours"
        )


def _build_classifier() -> None:
    _print("There is no classifier yet.")
    with TemporaryDirectory(prefix="birds-build-") as scratch:  # removes what a killed build leaves
        build = ChildProcess([sys.executable, "-m", "tools.cli", "models", "build"], {**os.environ, "TMPDIR": scratch})
        try:
            code = build.wait()
        finally:
            build.stop(_BUILD_GRACE_SECONDS)
            clear_away(MODEL_REPOSITORY)
    if code != 0:
        raise ServeError("the classifier could not be built (see above); try: birds models build --help")


def _report_fallback() -> None:
    default = read_default()
    about = read_versions()[default].about if default is not None else None
    if about and about.source == FALLBACK:
        _print(
            f"Note: the classifier is the fallback {FALLBACK}. The default classifier knows 964 species. To build it: "
            ".venv/bin/birds models build"
        )


def _wait_for_frontend(frontend: FrontendProcess) -> None:
    deadline = time.monotonic() + _FRONTEND_START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if (code := frontend.poll()) is not None:
            raise ServeError(f"the frontend ended while starting, with exit code {code}")
        if frontend.serves():
            return
        time.sleep(0.1)
    raise ServeError(f"the frontend was not ready within {_FRONTEND_START_TIMEOUT_SECONDS} s")


def _banner(url: str, triton: TritonServer, seconds: float, cores: int, workers: int) -> str:
    return f"""
Ready after {seconds:.1f} s.
  Frontend      {url}   (documentation: {url}/docs)
  Triton HTTP   127.0.0.1:{triton.ports.http}
  Triton gRPC   127.0.0.1:{triton.ports.grpc}
  Metrics       http://127.0.0.1:{triton.ports.metrics}/metrics
  Triton log    {os.path.relpath(triton.log)}
  Cores         {cores}; frontend processes: {workers} (BIRDS_WORKERS)
Ctrl-C stops everything.
"""


def _replace_unprintable_characters() -> None:
    """Do not fail on a terminal or pipe whose encoding lacks a character such as `…`: print an escape instead."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader of our output is gone, but the service is still wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_with_time(text: str) -> None:
    _print(f"{time.strftime('%H:%M:%S')} {text}")


def _stop(number: int, frame: FrameType | None) -> None:
    _ignore_signals()
    raise StopSignal


def _ignore_signals() -> None:
    """Do not let a second signal interrupt the stop. Every step of it has a time limit."""
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
