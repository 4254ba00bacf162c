"""Finds the shared libpython for this interpreter, which Triton's Python stub must be linked to. Standard library only.

Debian's and Ubuntu's python3 package does not depend on it, so a fresh machine may lack it. Its package is then
unpacked into the cache, which needs neither root nor an installation.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools import ROOT
from tools.serve.elf import needed_libraries

_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PACKAGE = f"libpython{_VERSION}"
_FILE = f"{PACKAGE}.so.1.0"
_CACHE = ROOT / ".cache" / "libpython"
_BUNDLED_FOR = "3.13"  # the nvidia-pytriton wheel brings a libpython for this version alone


class LibpythonMissing(Exception):
    """There is no libpython for this interpreter; the text says how to get it."""


def link_for_stub(stub: Path, folder: Path, bundled: Sequence[Path]) -> None:
    """Put a link to this interpreter's libpython into `folder`, under the name that the program `stub` asks for.

    The folder must come first in the stub's LD_LIBRARY_PATH. The stub for Python 3.13 asks for a libpython in the wheel
    (in one of the folders `bundled`) whose built-in modules are not Debian's: "No module named '_opcode'".
    Raises LibpythonMissing.
    """
    name = next(library for library in needed_libraries(stub) if library.startswith("libpython"))
    if library := find_or_fetch():
        folder.mkdir()
        (folder / name).symlink_to(library)
    elif not (_fits_bundled() and any((place / name).exists() for place in bundled)):
        raise LibpythonMissing(_missing())


def require() -> None:
    """Raise LibpythonMissing if Triton's stub will not find a libpython; works before the wheel is installed."""
    if find_or_fetch() is None and not (_fits_bundled() and _VERSION == _BUNDLED_FOR):
        raise LibpythonMissing(_missing())


def find_or_fetch() -> Path | None:
    """Return this interpreter's libpython, fetched from Debian's package if the machine does not have it."""
    library = _find()
    if library is None and not _fits_bundled():
        _unpack_debian_package()
        library = _find()
    return library


def _find() -> Path | None:
    configured = sysconfig.get_config_var("LIBDIR") or "/usr/lib"
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    folders = [Path(configured), Path(configured, multiarch), Path(sys.base_prefix, "lib"), _CACHE]
    return next((folder / _FILE for folder in folders if (folder / _FILE).is_file()), None)


def _fits_bundled() -> bool:
    """Return whether the wheel's libpython can run this interpreter's standard library.

    Debian builds modules such as _opcode into the interpreter, so their files, which other builds load, do not exist.
    """
    return _VERSION == _BUNDLED_FOR and "_opcode" not in sys.builtin_module_names


def _missing() -> str:
    return (
        f"{_FILE} is missing, Triton needs it: sudo apt-get update && sudo apt-get install {PACKAGE} "
        "(or use a Python built with --enable-shared)"
    )


def _unpack_debian_package() -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return
    print(f"Fetching {PACKAGE}, which is missing on this machine ...", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # apt-get as root downloads as the user _apt
        subprocess.run(["apt-get", "download", "-qq", PACKAGE], cwd=folder, capture_output=True, check=False)
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, folder / "root"], capture_output=True, check=True)
        for library in folder.glob(f"root/usr/lib/**/{PACKAGE}.so*"):
            _CACHE.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, _CACHE)
