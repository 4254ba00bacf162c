"""Runs the whole service in the foreground: builds the classifier if need be, then Triton and the frontend.

Ctrl-C or SIGTERM stops both; so does the end of either. Settings are the BIRDS_* variables of README.md.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from frontend.settings import Settings
from tools.child_process import ChildProcess
from tools.model_repository import ROOT, savedmodel_path
from tools.triton_server import Ports, TritonError, TritonServer

TRITON_LOG = ROOT / ".cache" / "log" / "triton.log"
_FRONTEND_START_SECONDS = 60
_FRONTEND_PATIENCE_SECONDS = 10
_WATCH_SECONDS = 0.2


class ServeError(Exception):
    """The service cannot start or go on; the text says what to do."""


class Stopped(BaseException):
    """A signal asked us to stop; raised out of whatever the main thread is doing."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        serve(Settings(), Ports(options.triton_http_port, options.triton_grpc_port, options.triton_metrics_port))
    except Stopped:
        print("Stopped.", flush=True)
        return 0
    except ValidationError as error:
        settings = ", ".join(f"BIRDS_{str(p['loc'][0]).upper()}: {p['msg']}" for p in error.errors())
        print(f"serve: {settings}", file=sys.stderr)
    except (ServeError, TritonError) as error:
        print(f"serve: {error}", file=sys.stderr)
    return 1


def serve(settings: Settings, ports: Ports) -> None:
    """Start everything, then watch until a signal (Stopped) or the end of a process (ServeError)."""
    started = time.monotonic()
    _require_free_ports(settings, ports)
    if not savedmodel_path().is_dir():
        _build_classifier()
    _say("Starting Triton …")
    triton = TritonServer(ports, TRITON_LOG)
    frontend: ChildProcess | None = None
    try:
        triton.start()
        triton.wait_until_ready()
        _say("Starting the frontend …")
        environment = {**os.environ, "BIRDS_TRITON_URL": triton.grpc_url}
        frontend = ChildProcess([sys.executable, "-m", "frontend"], environment)
        url = f"http://{settings.host}:{settings.port}"
        _wait_for_frontend(frontend, url)
        _say(_banner(url, triton, time.monotonic() - started))
        _watch(triton, frontend)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # stopping is under way, and its steps are bounded
        _say("Stopping …")
        if frontend is not None:
            frontend.stop(_FRONTEND_PATIENCE_SECONDS)
        triton.stop()


def _watch(triton: TritonServer, frontend: ChildProcess) -> None:
    while True:
        time.sleep(_WATCH_SECONDS)
        if (code := frontend.poll()) is not None:
            raise ServeError(f"the frontend ended unexpectedly with exit code {code}")
        if (code := triton.poll()) is not None:
            raise ServeError(f"Triton ended unexpectedly with exit code {code}; its log is {triton.log}")


def _require_free_ports(settings: Settings, ports: Ports) -> None:
    for address, port, what, remedy in (
        (settings.host, settings.port, "the frontend", "BIRDS_PORT"),
        ("127.0.0.1", ports.http, "Triton's HTTP", "--triton-http-port"),
        ("127.0.0.1", ports.grpc, "Triton's gRPC", "--triton-grpc-port"),
        ("127.0.0.1", ports.metrics, "Triton's metrics", "--triton-metrics-port"),
    ):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                raise ServeError(
                    f"{address}:{port}, wanted for {what}, cannot be used ({error.strerror}): "
                    f"stop what uses it, or choose another with {remedy}"
                ) from error


def _build_classifier() -> None:
    _say("There is no classifier yet.")
    build = subprocess.Popen([sys.executable, "-m", "tools.build_model"], cwd=ROOT)
    try:
        code = build.wait()
    finally:
        build.terminate()
        build.wait()
    if code != 0:
        raise ServeError("the classifier could not be built (see above); then try: python -m tools.build_model --help")


def _wait_for_frontend(frontend: ChildProcess, url: str) -> None:
    deadline = time.monotonic() + _FRONTEND_START_SECONDS
    while time.monotonic() < deadline:
        if (code := frontend.poll()) is not None:
            raise ServeError(f"the frontend ended while starting, with exit code {code}")
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=10):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise ServeError(f"the frontend was not ready within {_FRONTEND_START_SECONDS} s")


def _banner(url: str, triton: TritonServer, seconds: float) -> str:
    return f"""
Ready after {seconds:.1f} s.
  Frontend      {url}   (documentation: {url}/docs)
  Triton HTTP   127.0.0.1:{triton.ports.http}
  Triton gRPC   127.0.0.1:{triton.ports.grpc}
  Triton log    {_short(triton.log)}
Ctrl-C stops everything.
"""


def _short(path: Path) -> str:
    return os.path.relpath(path)


def _say(text: str) -> None:
    print(text, flush=True)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.serve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Ports()
    for name, port in (("http", default.http), ("grpc", default.grpc), ("metrics", default.metrics)):
        parser.add_argument(
            f"--triton-{name}-port", type=int, default=port, metavar="PORT", help="default: %(default)s"
        )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
