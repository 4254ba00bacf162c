"""Runs the whole service in the foreground: builds the classifier if need be, then Triton and the frontend.

Ctrl-C or SIGTERM stops both. One that dies, freezes or falls sick is started again (docs/reliability.md); only one that
does not come up at the first start ends the other. Settings are the BIRDS_* variables of README.md.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from types import FrameType

from frontend.settings import Settings
from tools import ROOT
from tools.errors import ToolError
from tools.models.options import FALLBACK
from tools.models.publishing import clear_away
from tools.models.repository import MODEL_REPOSITORY, read_default, read_versions
from tools.serve.child_process import ChildProcess
from tools.serve.frontend_process import FrontendProcess
from tools.serve.supervisor import Keeper, Member
from tools.serve.triton_process import TritonServer
from tools.triton.arguments import Ports

LOGS = ROOT / ".cache" / "log"
_FRONTEND_START_SECONDS = 60
_FRONTEND_PATIENCE_SECONDS = 10
_BUILD_PATIENCE_SECONDS = 10
_WATCH_SECONDS = 0.2
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ServeError(ToolError):
    """The service cannot start or go on; the text says what to do."""


class Stopped(BaseException):
    """A signal asked us to stop; raised out of whatever the main thread is doing."""


def run(ports: Ports) -> None:
    """Serve until a signal comes. Raises ServeError, TritonError, or pydantic's ValidationError for a setting."""
    for number in _STOPPING:
        signal.signal(number, _stop)
    try:
        serve(Settings(), ports)
    except Stopped:
        _say("Stopped.")


def serve(settings: Settings, ports: Ports) -> None:
    """Start everything and keep it running until a signal (Stopped). Raises ServeError or TritonError at the start."""
    started = time.monotonic()
    _require_free_ports(settings, ports)
    if not any(version.labels for version in read_versions().values()):
        _build_classifier()
    _warn_of_fallback()
    _say("Starting Triton …")
    triton = TritonServer(ports, LOGS / f"triton-{ports.http}.log")
    frontend = FrontendProcess(settings, triton.grpc_url)
    try:
        triton.start()
        triton.wait_until_ready()
        _say("Starting the frontend …")
        frontend.start()
        _wait_for_frontend(frontend)
        _say(_banner(f"http://{settings.host}:{settings.port}", triton, time.monotonic() - started))
        _supervise(triton, frontend)
    finally:
        _ignore_signals()
        _say("Stopping …")
        frontend.halt(_FRONTEND_PATIENCE_SECONDS)
        triton.stop()


def _supervise(*members: Member) -> None:
    """Keep the members running until a signal comes. It is heeded between two steps, so that none is left half done."""
    # An Event's lock would be waited for for ever by a signal that comes while the main thread holds it.
    signals: SimpleQueue[int] = SimpleQueue()
    for number in _STOPPING:
        signal.signal(number, lambda number, _: signals.put(number))
    keepers = [Keeper(member, _say_with_time) for member in members]
    while not _came(signals, _WATCH_SECONDS):
        for keeper in keepers:
            keeper.tick()
    for keeper in keepers:
        keeper.end()
    raise Stopped


def _came(signals: SimpleQueue[int], timeout_seconds: float) -> bool:
    try:
        signals.get(timeout=timeout_seconds)
    except Empty:
        return False
    return True


def _require_free_ports(settings: Settings, ports: Ports) -> None:
    """Raise ServeError, with a sentence for every listener that cannot be had."""
    wanted = [(settings.host, settings.port, "the frontend", "BIRDS_HOST and BIRDS_PORT")]
    wanted += [
        ("127.0.0.1", port, f"Triton's {what}", f'make serve ARGS="--triton-{what.lower()}-port PORT"')
        for what, port in (("HTTP", ports.http), ("gRPC", ports.grpc), ("metrics", ports.metrics))
    ]
    problems = []
    for address, port, what, remedy in wanted:
        others = [other for other_address, other, *_ in wanted if other_address == address]
        reason = "it is asked for twice" if others.count(port) > 1 else _why_not_bindable(address, port)
        if reason:
            problems.append(f"{address}:{port}, wanted for {what}, cannot be used: {reason} (another: {remedy})")
    if problems:
        raise ServeError("; ".join(problems))


def _why_not_bindable(address: str, port: int) -> str | None:
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
    except OSError as error:
        return str(error.strerror).lower()
    return None


def _build_classifier() -> None:
    _say("There is no classifier yet.")
    with TemporaryDirectory(prefix="birds-build-") as scratch:  # a build that has to be killed leaves files
        build = ChildProcess([sys.executable, "-m", "tools.cli", "models", "build"], {**os.environ, "TMPDIR": scratch})
        try:
            code = build.wait()
        finally:
            build.stop(_BUILD_PATIENCE_SECONDS)
            clear_away(MODEL_REPOSITORY)
    if code != 0:
        raise ServeError("the classifier could not be built (see above); try: birds models build --help")


def _warn_of_fallback() -> None:
    default = read_default()
    about = read_versions()[default].about if default is not None else None
    if about and about.source == FALLBACK:
        _say(
            f"Note: the classifier is the fallback {FALLBACK}. The default one knows 964 species. To build it: "
            ".venv/bin/birds models build"
        )


def _wait_for_frontend(frontend: FrontendProcess) -> None:
    deadline = time.monotonic() + _FRONTEND_START_SECONDS
    while time.monotonic() < deadline:
        if (code := frontend.poll()) is not None:
            raise ServeError(f"the frontend ended while starting, with exit code {code}")
        if frontend.serves():
            return
        time.sleep(0.1)
    raise ServeError(f"the frontend was not ready within {_FRONTEND_START_SECONDS} s")


def _banner(url: str, triton: TritonServer, seconds: float) -> str:
    return f"""
Ready after {seconds:.1f} s.
  Frontend      {url}   (documentation: {url}/docs)
  Triton HTTP   127.0.0.1:{triton.ports.http}
  Triton gRPC   127.0.0.1:{triton.ports.grpc}
  Metrics       http://127.0.0.1:{triton.ports.metrics}/metrics
  Triton log    {_short(triton.log)}
Ctrl-C stops everything.
"""


def _short(path: Path) -> str:
    return os.path.relpath(path)


def _say(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # whoever read our output is gone; the service is still wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say_with_time(text: str) -> None:
    _say(f"{time.strftime('%H:%M:%S')} {text}")


def _stop(number: int, frame: FrameType | None) -> None:
    _ignore_signals()
    raise Stopped


def _ignore_signals() -> None:
    """Stopping is under way and its steps are bounded: a second signal must not cut it short."""
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)
