"""A worker process that decodes one image at a time, and is killed when a decode takes too much time.

Triton's stub embeds Python in a C++ program, so a worker is a fresh interpreter and not a fork. Encoded bytes and
pixels travel through anonymous shared memory (memfd), which has no name, cannot be left behind, and needs no room in
/dev/shm. A worker that crashes in a decoder's C code fails its own image only.
"""

from __future__ import annotations

import fcntl
import json
import logging
import mmap
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from image_limits import ImageRejected

_WORKER = Path(__file__).with_name("decode_worker.py")
_START_SECONDS = 30
_END_SECONDS = 1.0  # time that a worker has to end after it has closed its socket
# The limit is CPU time; on a busy machine a decode may wait this many times longer for it.
_MAX_WAIT_FACTOR = 5
_MESSAGE_BYTES = 65_536
# The pages of a file larger than this are given back to the kernel after its decode.
_KEPT_BYTES = 1_000_000
_INHERITED = ("LD_LIBRARY_PATH", "PYTHONHOME")

log = logging.getLogger(__name__)


class WorkersUnavailable(RuntimeError):
    """No interpreter was found, or no worker starts."""


class WorkerKilled(Exception):
    """A signal from outside ended the worker during a decode."""


class DecodeProcess:
    """One process and the memory shared with it. Used by one thread at a time."""

    def __init__(self, region_bytes: int) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # The descriptor comes last: unlike the sockets, it would stay open if a step after it failed.
        descriptor = os.memfd_create("decode", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, region_bytes)
            # A worker that shrank it could end the parent with SIGBUS.
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            self._shared = mmap.mmap(descriptor, region_bytes)
            options = {"socket": theirs.fileno(), "memory": descriptor, "size": region_bytes}
            self._process = subprocess.Popen(  # noqa: S603 our own program
                [find_interpreter(), "-s", "-B", str(_WORKER), json.dumps(options)],
                pass_fds=(theirs.fileno(), descriptor),
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        finally:
            os.close(descriptor)
            theirs.close()
        self._is_ready = False
        self.is_dead = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def decode(self, data: bytes, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Return the worker's reply, with `pixels`. Raises ImageRejected or WorkerKilled if it does not survive."""
        self.is_dead = True  # unless it answers properly
        self.wait_until_ready()
        self._shared[: len(data)] = data
        reply = self._exchange(json.dumps(request).encode(), seconds)
        if "size_bytes" in reply:
            reply["pixels"] = self._shared[: reply["size_bytes"]]
        if len(data) > _KEPT_BYTES:
            self._shared.madvise(mmap.MADV_REMOVE)
        self.is_dead = False
        return reply

    def close(self) -> None:
        """End the process, even if it hangs."""
        self._socket.close()
        self._process.kill()
        self._process.wait()
        self._shared.close()

    def wait_until_ready(self) -> None:
        if self._is_ready:
            return
        self._socket.settimeout(_START_SECONDS)
        try:
            self._is_ready = bool(self._socket.recv(_MESSAGE_BYTES))
        except OSError:
            pass
        if not self._is_ready:
            self._process.kill()  # unless it has ended by itself
            raise WorkersUnavailable(f"{find_interpreter()} {_WORKER} does not start: exit code {self._process.wait()}")

    def _exchange(self, request: bytes, seconds: float) -> dict[str, Any]:
        started, cpu_before = time.monotonic(), self._cpu_seconds()
        remaining = seconds
        try:
            self._socket.send(request)
            while remaining > 0:
                self._socket.settimeout(max(remaining, 0.001))
                try:
                    message = self._socket.recv(_MESSAGE_BYTES)
                except TimeoutError:
                    used = self._cpu_seconds() - cpu_before
                    longest_wait = started + _MAX_WAIT_FACTOR * seconds - time.monotonic()
                    remaining = min(seconds - used, longest_wait)
                    continue
                if message:
                    reply: dict[str, Any] = json.loads(message)
                    return reply
                break
        except OSError:  # the other end is closed
            remaining = seconds
        if remaining <= 0:
            self._process.kill()
            raise ImageRejected("too_expensive", f"decoding it takes more than {seconds:g} s of CPU time")
        return self._explain_end()

    def _explain_end(self) -> dict[str, Any]:
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:  # an attacker's code in the decoder could keep it alive forever
            self._process.kill()
            raise ImageRejected("not_an_image", "the decoder broke on it") from None
        if code in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT):
            raise WorkerKilled
        log.warning("a decoder crashed: exit code %s", code)
        raise ImageRejected("not_an_image", "the decoder crashed on it")

    def _cpu_seconds(self) -> float:
        """Return the CPU time of the process so far, from its own kernel clock; see clock_getcpuclockid(3)."""
        try:
            return time.clock_gettime((~self._process.pid << 3) | 2)
        except OSError:  # it has ended
            return 0.0


def _environment() -> dict[str, str]:
    """Return only what Python needs: the process reads untrusted files and must know no secrets."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "LC_ALL": "C.UTF-8",
        "OPENBLAS_NUM_THREADS": "1",
    }


@lru_cache(maxsize=1)
def find_interpreter() -> str:
    """Return an interpreter of the running version. Inside Triton's stub `sys.executable` may be anything.

    Raises WorkersUnavailable.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folders = [Path(prefix) / "bin" for prefix in (sys.prefix, sys.exec_prefix, sys.base_prefix)]
    candidates: list[str | None] = [sys.executable, *(str(folder / f"python{version}") for folder in folders)]
    candidates += [str(folder / "python3") for folder in folders]
    candidates += [
        shutil.which(f"python{version}"),
        shutil.which("python3"),
        f"/usr/bin/python{version}",
        "/usr/bin/python3",
    ]
    for candidate in dict.fromkeys(filter(None, candidates)):
        if Path(candidate).name.startswith("python") and os.access(candidate, os.X_OK) and _runs(candidate, version):
            return candidate
    raise WorkersUnavailable(f"no interpreter of Python {version} was found among {candidates}")


def _runs(interpreter: str, version: str) -> bool:
    command = [interpreter, "-s", "-c", "import sys, PIL; print('%d.%d' % sys.version_info[:2])"]
    try:
        answer = subprocess.run(command, env=_environment(), capture_output=True, timeout=_START_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.stdout.decode(errors="replace").strip() == version
