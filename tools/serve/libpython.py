"""Finds the shared libpython that Triton's Python stub is linked against.

Debian's and Ubuntu's python3 does without it, so a fresh machine may not have it; its package is then unpacked
into the cache, which needs neither root nor an installation.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools import ROOT

_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
_PACKAGE = f"libpython{_VERSION}"
_CACHE = ROOT / ".cache" / "libpython"


class LibpythonMissing(Exception):
    """No libpython for this interpreter; the text says how to get it."""


def find(stub: Path, libraries: Sequence[str]) -> Path:
    """Return a folder with which (and with `libraries`) the program `stub` finds all it is linked against.

    Raises LibpythonMissing when there is none and it cannot be fetched either.
    """
    own = Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib")
    for folder in (own, _CACHE):
        if _links(stub, [*libraries, str(folder)]):
            return folder
    _unpack_debian_package()
    if not _links(stub, [*libraries, str(_CACHE)]):
        raise LibpythonMissing(
            f"{_PACKAGE}.so.1.0 is missing, Triton needs it: sudo apt-get update && sudo apt-get install {_PACKAGE} "
            "(or use a Python built with --enable-shared)"
        )
    return _CACHE


def _links(stub: Path, libraries: Sequence[str]) -> bool:
    environment = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries), "LD_TRACE_LOADED_OBJECTS": "1"}
    traced = subprocess.run([str(stub)], env=environment, capture_output=True, text=True, check=False)
    return traced.returncode == 0 and "not found" not in traced.stdout


def _unpack_debian_package() -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return
    print(f"Fetching {_PACKAGE}, which this machine lacks …", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # apt-get as root downloads as the user _apt
        subprocess.run(["apt-get", "download", "-qq", _PACKAGE], cwd=folder, capture_output=True, check=False)
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, folder / "root"], capture_output=True, check=True)
        for library in folder.glob(f"root/usr/lib/**/{_PACKAGE}.so*"):
            _CACHE.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, _CACHE)
