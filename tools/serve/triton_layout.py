"""The folder that one Triton runs from: its backends, a link to the models, and the environment of its process."""

from __future__ import annotations

import compileall
import importlib.util
import logging
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from frontend.limits.usable_cores import CORES_VARIABLE, usable_cores
from tools import ROOT
from tools.serve import libpython
from tools.serve.supervisor import StartFailed

_log = logging.getLogger(__name__)

BACKENDS = ROOT / "backends"
_NUMPY_FIX = Path(__file__).with_name("numpy2_stub_fix.py")
_ENVIRONMENT = "environment"
_STUB = "triton_python_backend_stub"
_SHELL_SAFE = re.compile(r"[A-Za-z0-9/._-]+")
# Only the frontend needs the keys, and Triton decodes untrusted files.
_FRONTEND_ONLY = ("BIRDS_API_KEYS",)


class TritonError(StartFailed):
    """Triton cannot be started, or ended; the text says what to do about it."""


def find_wheel() -> Path:
    """Return the folder `pytriton` of the nvidia-pytriton wheel, without importing it. Raises TritonError."""
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise TritonError("the tritonserver binary is missing: pip install --no-deps -r requirements/tritonserver.txt")
    return Path(spec.submodule_search_locations[0])


def scratch_parent() -> Path:
    """Return the first folder in which Triton can run its stub. Raises TritonError if there is none.

    The stub must be executable there, and Triton passes its path through a shell without quoting it.
    """
    temporary = [Path(os.environ["TMPDIR"])] if os.environ.get("TMPDIR") else []
    candidates = [*temporary, Path("/tmp"), Path("/var/tmp"), ROOT / ".cache"]
    for folder in candidates:
        if _SHELL_SAFE.fullmatch(str(folder)) and _can_run_programs(folder):
            if folder != candidates[0]:
                _log.warning(
                    "Triton cannot run programs in %s, so its files are in %s. TMPDIR sets another folder.",
                    candidates[0],
                    folder,
                )
            return folder
    tried = ", ".join(map(str, candidates))
    raise TritonError(
        "Triton needs a folder where it can write files and run them (not mounted noexec), without spaces in its path; "
        f"none of {tried} is one: set TMPDIR"
    )


def lay_out(wheel: Path, repository: Path, scratch: Path) -> None:
    """Put everything that Triton's command line points to into the new folder `scratch`. Raises TritonError, OSError.

    Backends are copied, because Triton refuses links that lead out of its backend directory. The repository is
    linked: a stub's command line is split at spaces, which the repository's own path can contain.
    """
    scratch.mkdir(mode=0o700)
    (scratch / "models").symlink_to(repository.absolute())
    # The stub finds the virtual environment by PATH. On Python 3.13 it aborts ("pybind11::cast_error") if that path is
    # not ASCII. The path of this link always is.
    (scratch / _ENVIRONMENT).symlink_to(sys.prefix)
    python = scratch / "backends" / "python"
    shutil.copytree(wheel / "tritonserver" / "backends" / "python", python)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(wheel / "tritonserver" / "python_backend_stubs" / version / _STUB, python)
    shutil.copy(_NUMPY_FIX, python)
    with (python / "triton_python_backend_utils.py").open("a", encoding="utf-8") as utils:
        utils.write(f"\nimport {_NUMPY_FIX.stem}\n")
    # A stub ignores PYTHONDONTWRITEBYTECODE, and Triton takes its new __pycache__ for a change of the model: it would
    # load the model again with the next ensemble that uses it.
    for model in repository.glob("*/*/model.py"):
        compileall.compile_dir(model.parent, quiet=2)
    for backend in BACKENDS.iterdir():
        shutil.copytree(backend, scratch / "backends" / backend.name, ignore=shutil.ignore_patterns("__pycache__"))
    try:
        libpython.link_for_stub(python / _STUB, scratch / "libpython", _bundled_libraries(wheel))
    except libpython.LibpythonMissing as error:
        raise TritonError(str(error)) from error


def triton_environment(wheel: Path, scratch: Path) -> dict[str, str]:
    """Return the environment of tritonserver and its stubs."""
    libraries = [scratch / "libpython", *_bundled_libraries(wheel)]
    return {
        **{name: value for name, value in os.environ.items() if name not in _FRONTEND_ONLY},
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
        "PATH": os.pathsep.join([str(scratch / _ENVIRONMENT / "bin"), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(_packages(scratch)),
        CORES_VARIABLE: str(usable_cores()),
        # For the programs that stubs start. The interpreter inside a stub starts from Python's isolated configuration,
        # ignores both, and has ASCII with surrogateescape as its file-system encoding.
        "LC_ALL": "C.UTF-8",
        "PYTHONUTF8": "1",
    }


def _packages(scratch: Path) -> list[str]:
    """Return the folders of installed packages, as paths below `scratch` where possible."""
    packages = [path for path in sys.path if path.endswith("site-packages")]
    return [path.replace(f"{sys.prefix}/", f"{scratch / _ENVIRONMENT}/", 1) for path in packages]


def _bundled_libraries(wheel: Path) -> Sequence[Path]:
    return [wheel.parent / "nvidia_pytriton.libs"]


def _can_run_programs(folder: Path) -> bool:
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    return not os.statvfs(folder).f_flag & os.ST_NOEXEC
