"""Starts and supervises Triton as process 1 of a container, over a repository that `birds models prepare` has filled.

    python -m tools.triton.entrypoint [--tritonserver-option …]

A signal to the container stops Triton, and when Triton ends, the container ends. Triton never replaces a dead Python
process of a model, so the entrypoint then restarts Triton. That takes seconds; a container restart takes longer. A
Triton that cannot classify one image after its first start ends the container with the reason.
Standard library only.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

from frontend.limits.usable_cores import CORES_VARIABLE, usable_cores
from tools.triton.arguments import (
    CONTROL_APIS,
    REGION_KIND,
    SHARED_MEMORY,
    Ports,
    models_in,
    region_arguments,
    restricting_arguments,
    triton_arguments,
)
from tools.triton.direct_http import open_directly
from tools.triton.first_inference import first_inference_problem, numpy_hint
from tools.triton.locked_files import LockedFiles, remove_leftovers
from tools.triton.probe import STARTING
from tools.triton.running_stubs import Instance, instances_of, running_stubs
from tools.triton.server_release import release_arguments

_REPOSITORY = Path("/models")
_CHECK_SECONDS = 0.5
_START_TIMEOUT_SECONDS = 1800  # a large model on a slow disk
READY_SECONDS = 2  # timeout of Triton's health check
_LOST_CHECKS = 2  # in a row
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LONGEST_BACKOFF_SECONDS = 30
_HEALTHY_AFTER_SECONDS = 60


class Container:
    """Runs `command` until a stop signal arrives or it ends by itself; restarts it when a stub has died."""

    def __init__(self, command: Sequence[str], http_port: int, regions: LockedFiles) -> None:
        self._command = [*command, *region_arguments(regions.prefix)]
        self._url = f"http://127.0.0.1:{http_port}"
        self._regions = regions
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._has_classified = False

    def run(self) -> int:
        """Return the exit code for the container."""
        for number in _STOP_SIGNALS:
            signal.signal(number, self._stop)
        backoff = 0.0
        while True:
            started = time.monotonic()
            code = self._run_once()
            self._regions.clear()
            if code is not None:
                return code
            backoff = 0.0 if time.monotonic() - started > _HEALTHY_AFTER_SECONDS else backoff
            self._sleep(backoff)
            backoff = min(2 * backoff, _LONGEST_BACKOFF_SECONDS) or 1.0

    def _run_once(self) -> int | None:
        """Run Triton until it ends. Return the exit code for the container, or None if Triton must be started again."""
        if self._stopping:
            return 0
        STARTING.touch()
        self._process = subprocess.Popen(
            self._command,
            env={**os.environ, CORES_VARIABLE: str(usable_cores())},
            start_new_session=True,
            pass_fds=[self._regions.descriptor],
        )
        if self._stopping:  # the signal came just before
            self._process.terminate()
        problem = self._watch(self._process)
        code = self._process.poll()
        if code is None:
            next_step = "Restarting Triton" if self._has_classified else "Giving up"
            print(f"entrypoint: {problem}. {next_step}.", file=sys.stderr, flush=True)
        elif code and not self._has_classified and not self._stopping:
            print(f"entrypoint: Triton ended at its start, see above. {numpy_hint()}.", file=sys.stderr, flush=True)
        try:
            os.killpg(self._process.pid, signal.SIGKILL)  # also the stubs
        except ProcessLookupError:
            pass  # all have ended
        self._process.wait()
        if code is None:
            return None if self._has_classified else 1
        return code if code >= 0 else 128 - code

    def _watch(self, process: subprocess.Popen[bytes]) -> str | None:
        """Wait until `process` has ended. Return a problem instead if it must be restarted."""
        start_deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        expected: dict[int, Instance] | None = None  # until Triton has classified an image
        lost = 0
        while True:
            try:
                process.wait(_CHECK_SECONDS)
                return None
            except subprocess.TimeoutExpired:
                pass
            _reap_orphans(process.pid)
            if self._stopping:
                continue
            if expected is None:
                if time.monotonic() > start_deadline:
                    return f"Triton was not ready within {_START_TIMEOUT_SECONDS} s"
                if not self._is_ready():
                    continue
                try:
                    problem = first_inference_problem(self._url)
                except (OSError, HTTPException):
                    continue  # no answer yet
                if self._stopping:
                    continue
                if problem:
                    return problem
                self._has_classified = True
                expected = running_stubs(process.pid)
                STARTING.unlink(missing_ok=True)
            running = instances_of(expected)
            missing = [instance.name for pid, instance in expected.items() if pid not in running]
            lost = lost + 1 if missing else 0
            if lost >= _LOST_CHECKS:
                return f"the process of {missing[0]} is dead"

    def _is_ready(self) -> bool:
        try:
            with open_directly(f"{self._url}/v2/health/ready", READY_SECONDS):
                return True
        except OSError:
            return False

    def _stop(self, *_: object) -> None:
        self._stopping = True
        if self._process is not None:
            self._process.terminate()

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < deadline:
            time.sleep(0.1)


def _reap_orphans(triton: int) -> None:
    """Collect the exit codes of processes whose parents have ended: the kernel hands them to process 1."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid == triton:  # subprocess collects Triton's own
            return
        os.waitpid(ended.si_pid, os.WNOHANG)


def main(arguments: Sequence[str]) -> int:
    models = models_in(_REPOSITORY)
    if not models:
        print(f"entrypoint: {_REPOSITORY} holds no models: run birds models prepare first", file=sys.stderr)
        return 1
    open_apis = os.environ.get("BIRDS_TRITON_OPEN_APIS", "").replace(",", " ").split()
    if unknown := set(open_apis) - set(CONTROL_APIS):
        print(
            f"entrypoint: BIRDS_TRITON_OPEN_APIS: unknown {', '.join(sorted(unknown))}; use {', '.join(CONTROL_APIS)}",
            file=sys.stderr,
        )
        return 1
    # /dev/shm outlives a container restart in a pod. Files of a killed Triton there have a lock that nobody holds.
    remove_leftovers(SHARED_MEMORY, REGION_KIND)
    command = [
        "tritonserver",
        # On all addresses, because a container has its own loopback; the network decides who can connect.
        *triton_arguments(_REPOSITORY, models, Ports(), "0.0.0.0"),  # noqa: S104
        # With a key that nobody knows: new versions come with the volume and a restart, not by the control API.
        *restricting_arguments(secrets.token_urlsafe(32), open_apis),
        *release_arguments(os.environ, open_apis),
        "--metrics-config=histogram_latencies=true",  # of ordinary models since 26.01 (core #464)
        *arguments,
    ]
    regions = LockedFiles(SHARED_MEMORY, REGION_KIND)
    try:
        return Container(command, Ports().http, regions).run()
    finally:
        regions.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
