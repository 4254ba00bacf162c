"""Checks that this machine has what `make serve` needs, before 700 MB are downloaded. Standard library only.

    python3 -m tools.serve.preflight

The Makefile runs this with the interpreter from which it then creates the virtual environment.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys

from tools import ROOT

_OLDEST, _NEWEST = (3, 10), (3, 13)
_NEEDED_BYTES = 4 << 30  # for the packages, pip's temporary files, and the built classifier


def problems() -> list[str]:
    """Return one sentence for each requirement that this machine does not meet."""
    if not _OLDEST <= sys.version_info[:2] <= _NEWEST:
        version = platform.python_version()
        return [f"{sys.executable} is Python {version}; 3.10 to 3.13 is needed: make serve PYTHON=python3.12"]
    found = []
    if sys.platform != "linux" or platform.machine() != "x86_64":
        found.append(f"Triton's binary is for Linux on x86-64, and this is {platform.system()} on {platform.machine()}")
    if not os.access(ROOT, os.W_OK):
        found.append(
            f"{ROOT} is not writable: .venv, .cache and model_repository are created in it. Copy the checkout to a "
            "folder of yours"
        )
    elif shutil.disk_usage(ROOT).free < _NEEDED_BYTES:
        found.append(f"{ROOT} needs {_NEEDED_BYTES >> 30} GB of free disk space")
    packages = _missing_packages()
    if packages:
        found.append(f"packages are missing: sudo apt-get update && sudo apt-get install {' '.join(packages)}")
    return found


def _missing_packages() -> list[str]:
    """Return the Debian packages that are missing. On other systems their names are a hint."""
    from tools.serve import libpython  # its syntax needs the Python version that was checked first

    packages = []
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        packages.append("python3-venv")
    try:
        libpython.require()
    except libpython.LibpythonMissing:
        packages.append(libpython.PACKAGE)
    return packages


def main() -> int:
    found = problems()
    for problem in found:
        print(f"serve: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
