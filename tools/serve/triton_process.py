"""One tritonserver child: found in the nvidia-pytriton wheel, laid out, started, watched and cleaned up after."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tools import ROOT
from tools.models.publishing import PublishingError, prepare
from tools.models.repository import MODEL_REPOSITORY, configurations
from tools.serve import libpython
from tools.serve.catching_up import CatchingUp
from tools.serve.child_process import ChildProcess
from tools.serve.supervisor import Check, Member, StartFailed
from tools.serve.triton_health import TritonHealth
from tools.triton.arguments import EXIT_TIMEOUT_SECONDS, Ports, models_in, restricting_arguments, triton_arguments
from tools.triton.control import TritonControl
from tools.triton.control_key import create_key, remove_key, remove_leftover_keys
from tools.triton.settings import TritonSettings

BACKENDS = ROOT / "backends"
NUMPY_FIX = ROOT / "tools" / "serve" / "numpy2_stub_fix.py"
_SHARED_MEMORY = Path("/dev/shm")
_SHM_PREFIX = "triton_birds_"
_SCRATCH_PARENT = Path("/tmp")  # not TMPDIR: Triton's command lines bear no spaces or commas
_SCRATCH_PREFIX = "birds-triton-"
_ENVIRONMENT_PREFIX = "python_env_"  # Triton's own: an empty folder, removed at the end unless it is killed
_KILL_AFTER_SECONDS = EXIT_TIMEOUT_SECONDS + 10

# What the telling lines of Triton's log have in common, the most telling first.
_FAILURE_SIGNS = (
    "failed to load '",
    "Poll failed",
    "while loading shared libraries",
    "error: creating server",
    "terminate called",
    "Socket '",
)


class TritonError(StartFailed):
    """Triton cannot be started, or ended; the text says what to do about it."""


class TritonServer(Member):
    """A running tritonserver; use as a context manager, which also removes every trace of it at the end.

    It can be started again after it has ended or was stopped. The log of the run before is kept beside the present one.
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
        self._shm_prefix = f"{_SHM_PREFIX}{os.getpid()}_{ports.grpc}_"
        self._id = f"birds-{os.getpid()}-{ports.grpc}"
        self._key = ""
        self._configurations: dict[Path, bytes] = {}
        self._scratch: Path | None = None
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
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process; returns at once. Raises TritonError if it cannot even be started."""
        wheel = _find_wheel()
        _remove_empty_environments()
        again = self._process is not None
        try:
            # A restart does not wait for a change that is under way, and needs no room on a disk that may be full.
            prepare(self._repository, self._settings, patiently=not again)
            self._configurations = configurations(self._repository)
            if again:
                os.replace(self.log, self.log.with_suffix(".previous.log"))
            else:
                self._prepare_folders(wheel)
            assert self._scratch is not None
            with self.log.open("wb") as log:
                command = self._command(wheel, self._scratch)
                self._process = ChildProcess(command, _environment(wheel, self._scratch), log)
        except (PublishingError, OSError) as error:
            # Of the files that could not be copied, each for its reason, one will do.
            reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error
            raise TritonError(f"Triton cannot be started: {reason}") from error

    def _prepare_folders(self, wheel: Path) -> None:
        _remove_leftovers()
        self._scratch = Path(tempfile.mkdtemp(prefix=f"{_SCRATCH_PREFIX}{os.getpid()}-", dir=_SCRATCH_PARENT))
        _lay_out(wheel, self._repository, self._scratch)
        self._key = create_key(self.ports.http)
        self.log.parent.mkdir(parents=True, exist_ok=True)

    def poll(self) -> int | None:
        """The exit code once the process has ended, else None."""
        return self._process.poll() if self._process else None

    def wait_until_ready(self, timeout_seconds: float = 120) -> None:
        """Return once every model has been loaded. Raises TritonError with Triton's own reason if it ends instead."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if self.poll() is not None:
                raise TritonError(f"Triton ended while starting: {self.failure()}")
            if self.is_ready():
                return
            time.sleep(0.1)
        raise TritonError(f"Triton was not ready within {timeout_seconds:.0f} s: {self.failure()}")

    def is_ready(self) -> bool:
        """Whether every model has been loaded, by the word of this server and no other on the same port."""
        try:
            with urllib.request.urlopen(f"{self.http_url}/v2", timeout=2) as metadata:
                if json.load(metadata)["name"] != self._id:
                    return False
            with urllib.request.urlopen(f"{self.http_url}/v2/health/ready", timeout=2):
                return True
        except (urllib.error.URLError, OSError, http.client.HTTPException, ValueError):
            return False

    def checks(self) -> list[Check]:
        control = TritonControl(self.http_url)
        catching_up = CatchingUp(self._repository, self._configurations, control)
        return [*TritonHealth(self.pid, control).checks(), catching_up.check()]

    def failure(self) -> str:
        """The log's line that tells best why Triton ended."""
        lines = self.log.read_text(errors="replace").splitlines()
        for sign in _FAILURE_SIGNS:
            for line in lines:
                if sign in line:
                    return f"{line.partition('] ')[2] or line} (full log: {self.log})"
        return f"exit code {self.poll()}, see {self.log}"

    def halt(self, patience_seconds: float) -> None:
        """End the process and all it started, and remove its shared memory."""
        if self._process is not None:
            self._process.stop(patience_seconds)
        for region in _SHARED_MEMORY.glob(f"{self._shm_prefix}*"):
            region.unlink(missing_ok=True)

    def stop(self) -> None:
        """End it for good, with its scratch files and its key."""
        self.halt(_KILL_AFTER_SECONDS)
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            remove_key(self.ports.http)

    def _command(self, wheel: Path, scratch: Path) -> list[str]:
        return [
            str(wheel / "tritonserver" / "bin" / "tritonserver"),
            *triton_arguments(scratch / "models", models_in(self._repository), self.ports, "127.0.0.1"),
            f"--backend-directory={scratch / 'backends'}",
            f"--cache-directory={wheel / 'tritonserver' / 'caches'}",
            f"--backend-config=python,shm-region-prefix-name={self._shm_prefix}",
            f"--backend-config=tensorflow,shm-region-prefix-name={self._shm_prefix}",
            f"--id={self._id}",
            *restricting_arguments(self._key, self._settings.triton_open_apis),
            *self._extra_arguments,
        ]


def _find_wheel() -> Path:
    """The folder `pytriton` of the wheel, which is never imported."""
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise TritonError("the tritonserver binary is missing: pip install --no-deps -r requirements/tritonserver.txt")
    return Path(spec.submodule_search_locations[0])


def _remove_leftovers() -> None:
    """Remove what servers left behind whose parent was killed outright; names hold that parent's process id."""
    for folder, prefix in ((_SHARED_MEMORY, _SHM_PREFIX), (_SCRATCH_PARENT, _SCRATCH_PREFIX)):
        for leftover in folder.glob(f"{prefix}*"):
            owner = re.match(r"\d+", leftover.name.removeprefix(prefix))
            if owner and not Path(f"/proc/{owner[0]}").exists():
                with suppress(OSError):  # another user's, who may even have put it there to be in our way
                    shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    remove_leftover_keys()


def _remove_empty_environments() -> None:
    """Remove the folders that killed Tritons left; their names tell nothing, so only while no Triton lives."""
    if _triton_lives():
        return
    for folder in _SCRATCH_PARENT.glob(f"{_ENVIRONMENT_PREFIX}*"):
        with suppress(OSError):  # not empty, or not ours
            folder.rmdir()


def _triton_lives() -> bool:
    for name in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):  # it has just ended
            if name.read_text() == "tritonserver\n":
                return True
    return False


def _lay_out(wheel: Path, repository: Path, scratch: Path) -> None:
    """Put all that Triton is pointed to into `scratch`.

    Backends are copied, because Triton refuses links that lead out of its backend directory. The repository is
    linked: a stub's command line is split at spaces, which its own path may have.
    """
    (scratch / "models").symlink_to(repository.absolute())
    python = scratch / "backends" / "python"
    shutil.copytree(wheel / "tritonserver" / "backends" / "python", python)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = wheel / "tritonserver" / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy(stub, python)
    shutil.copy(NUMPY_FIX, python)
    with (python / "triton_python_backend_utils.py").open("a") as utils:
        utils.write(f"\nimport {NUMPY_FIX.stem}\n")
        # The stub does not heed PYTHONDONTWRITEBYTECODE, and a new __pycache__ counts as a change to the model.
        utils.write("\nimport sys\nsys.dont_write_bytecode = True\n")
    for backend in BACKENDS.iterdir():
        shutil.copytree(backend, scratch / "backends" / backend.name, ignore=shutil.ignore_patterns("__pycache__"))


def _environment(wheel: Path, scratch: Path) -> dict[str, str]:
    stub = scratch / "backends" / "python" / "triton_python_backend_stub"
    libraries = [str(wheel.parent / "nvidia_pytriton.libs")]
    try:
        libraries.append(str(libpython.find(stub, libraries)))
    except libpython.LibpythonMissing as error:
        raise TritonError(str(error)) from error
    return {
        # Without what only the frontend needs to know: here strangers' files are decoded.
        **{name: value for name, value in os.environ.items() if name != "BIRDS_API_KEYS"},
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path.endswith("site-packages")),
    }
