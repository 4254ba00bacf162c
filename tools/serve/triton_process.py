"""One tritonserver process: starts, checks and stops it, and removes everything that it created."""

from __future__ import annotations

import http.client
import json
import math
import os
import shutil
import time
import urllib.error
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from tools.models.publishing import PublishingError, catch_up, prepare
from tools.models.repository import MODEL_REPOSITORY, configurations
from tools.serve.child_process import ChildProcess
from tools.serve.health_check import HealthCheck
from tools.serve.supervisor import SupervisedProcess
from tools.serve.triton_health import TritonHealth
from tools.serve.triton_layout import TritonError, find_wheel, lay_out, scratch_parent, triton_environment
from tools.triton.arguments import (
    EXIT_TIMEOUT_SECONDS,
    REGION_KIND,
    SHARED_MEMORY,
    Ports,
    models_in,
    region_arguments,
    restricting_arguments,
    triton_arguments,
)
from tools.triton.control import ControlError, TritonControl
from tools.triton.control_key import create_key, remove_key, remove_leftover_keys
from tools.triton.direct_http import open_directly
from tools.triton.locked_files import LockedFiles, remove_leftovers
from tools.triton.settings import TritonSettings

SCRATCH_KIND = "birds-triton-"
_KILL_AFTER_SECONDS = EXIT_TIMEOUT_SECONDS + 10

# Parts of the lines in Triton's log that explain a failed start, the most specific first.
_FAILURE_SIGNS = (
    "failed to load '",
    "Poll failed",
    "while loading shared libraries",
    "error: creating server",
    "terminate called",
    "Socket '",
)


class TritonServer(SupervisedProcess):
    """A running tritonserver. Use it as a context manager, which removes every trace of it at the end.

    It can be started again after it has ended or was stopped. The log of the previous run stays beside the current one.
    """

    name = "Triton"

    def __init__(
        self,
        ports: Ports,
        log: Path,
        repository: Path = MODEL_REPOSITORY,
        extra_arguments: Sequence[str] = (),
        settings: TritonSettings | None = None,
    ) -> None:
        self.ports = ports
        self.log = log
        self._repository = repository
        self._extra_arguments = extra_arguments
        self._settings = settings or TritonSettings()
        self._id = f"birds-{os.getpid()}-{ports.grpc}"
        self._files: _Files | None = None
        self._configurations: dict[Path, bytes] = {}
        self._process: ChildProcess | None = None

    @property
    def grpc_url(self) -> str:
        return f"127.0.0.1:{self.ports.grpc}"

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.http}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> TritonServer:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the process and return at once. Raises TritonError if that fails."""
        wheel = find_wheel()
        restart = self._files is not None
        try:
            # A restart does not wait for a change in progress, and needs no space on a disk that may be full.
            prepare(self._repository, self._settings, wait=not restart)
            self._configurations = configurations(self._repository)
            if restart:
                with suppress(FileNotFoundError):  # the log was deleted meanwhile
                    os.replace(self.log, self.log.with_suffix(".previous.log"))
            else:
                self.log.parent.mkdir(parents=True, exist_ok=True)
                self._files = _Files(wheel, self._repository, self.ports)
            assert self._files is not None
            with self.log.open("wb") as log:
                self._process = ChildProcess(
                    self._command(wheel, self._files),
                    triton_environment(wheel, self._files.scratch),
                    log,
                    keep_open=self._files.locks,
                )
        except (PublishingError, OSError) as error:
            # shutil.Error lists every file that could not be copied; one reason is enough.
            reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error
            raise TritonError(f"Triton cannot be started: {reason}") from error

    def poll(self) -> int | None:
        """Return the exit code once the process has ended, else None."""
        return self._process.poll() if self._process else None

    def wait_until_ready(self, timeout_seconds: float = 120) -> None:
        """Return once every model is loaded. Raises TritonError with Triton's own reason if it ends instead."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if self.poll() is not None:
                raise TritonError(f"Triton ended while starting: {self.failure_reason()}")
            if self.is_ready():
                return
            time.sleep(0.1)
        raise TritonError(f"Triton was not ready within {timeout_seconds:.0f} s: {self.failure_reason()}")

    def is_ready(self) -> bool:
        """Return whether this server, and not another one on the same port, has loaded every model."""
        try:
            with open_directly(f"{self.http_url}/v2", 2) as metadata:
                if json.load(metadata)["name"] != self._id:
                    return False
            with open_directly(f"{self.http_url}/v2/health/ready", 2):
                return True
        except (urllib.error.URLError, OSError, http.client.HTTPException, ValueError, LookupError):
            return False

    def health_checks(self) -> list[HealthCheck]:
        assert self._files is not None
        # The key comes from memory, because a deleted key file is not a fault of Triton.
        control = TritonControl(self.http_url, self._files.key, self.grpc_url)
        loading = HealthCheck(_LoadChanges(self._repository, self._configurations, control).run, math.inf, "")
        return [*TritonHealth(self.pid, control).checks(), loading]

    def failure_reason(self) -> str:
        """Return the line of the log that explains best why Triton ended."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        for sign in _FAILURE_SIGNS:
            for line in lines:
                if sign in line:
                    return f"{line.partition('] ')[2] or line} (full log: {self.log})"
        return f"exit code {self.poll()}, see {self.log}"

    def stop(self, grace_seconds: float) -> None:
        """Stop the process and all its children, and remove their shared memory."""
        if self._process is not None:
            self._process.stop(grace_seconds)
        if self._files is not None:
            self._files.regions.clear()

    def close(self) -> None:
        """Stop the process for good, and remove its files and its key."""
        self.stop(_KILL_AFTER_SECONDS)
        if self._files is not None:
            self._files.close()
            self._files = None

    def _command(self, wheel: Path, files: _Files) -> list[str]:
        return [
            str(wheel / "tritonserver" / "bin" / "tritonserver"),
            *triton_arguments(files.scratch / "models", models_in(self._repository), self.ports, "127.0.0.1"),
            f"--backend-directory={files.scratch / 'backends'}",
            *region_arguments(files.regions.prefix),
            f"--id={self._id}",
            *restricting_arguments(files.key, self._settings.triton_open_apis),
            *self._extra_arguments,
        ]


class _Files:
    """What a TritonServer keeps over all its restarts: shared memory, scratch folder and control key.

    `locks` are the descriptors whose locks mark the files as in use.
    """

    def __init__(self, wheel: Path, repository: Path, ports: Ports) -> None:
        parent = scratch_parent()
        for folder, kind in ((SHARED_MEMORY, REGION_KIND), (parent, SCRATCH_KIND)):
            remove_leftovers(folder, kind)
        remove_leftover_keys()
        with ExitStack() as stack:
            self.regions = LockedFiles(SHARED_MEMORY, REGION_KIND)
            stack.callback(self.regions.close)
            scratch = LockedFiles(parent, SCRATCH_KIND)
            stack.callback(scratch.close)
            self.key, key_lock = create_key(ports.http, ports.grpc)
            stack.callback(os.close, key_lock)
            stack.callback(remove_key, ports.http)
            self.scratch = scratch.path("files")
            self.locks = (self.regions.descriptor, scratch.descriptor)
            lay_out(wheel, repository, self.scratch)
            self.close = stack.pop_all().close


class _LoadChanges:
    """Loads versions that were published while this Triton was starting and could not be told."""

    def __init__(self, repository: Path, configurations: dict[Path, bytes], control: TritonControl) -> None:
        self._repository = repository
        self._before: dict[Path, bytes] | None = configurations
        self._control = control

    def run(self) -> None:
        """Compare the repository once with its state at Triton's start. Takes as long as a publisher holds its lock."""
        before, self._before = self._before, None
        if before is not None and before != configurations(self._repository):
            # If a version cannot be loaded, Triton is not restarted: it still serves the earlier versions.
            with suppress(ControlError, PublishingError):
                catch_up(self._repository, self._control)
