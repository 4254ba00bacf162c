"""Installs the programs that the tests use beside the Python packages: `make test-setup`, also part of `make test`.

Needs root or sudo without a password for Debian's packages. Where it cannot install something it says so and ends with
exit code 0: the tests that need it are then skipped and listed at the end of the run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from tests.support.programs import NODE_MODULES, PROGRAMS, missing

# A policy-rc.d that answers 101 keeps a package from starting its service.
_APT = """
set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\\nexit 101\\n' >"$policy"
  chmod +x "$policy"
fi
apt-get update --quiet=2
DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "$@" >/dev/null
"""


def main() -> None:
    packages = sorted({package for name in missing() if (package := PROGRAMS[name].package)})
    if packages:
        _install_packages(packages)
    if {"axe-core", "openapi-typescript"} & set(missing()) and "npm" not in missing():
        print("Installing axe-core and openapi-typescript for the tests, with npm …", flush=True)
        command = ["npm", "ci", "--silent", "--no-audit", "--no-fund", f"--prefix={NODE_MODULES.parent}"]
        _run(command, "npm could not install axe-core and openapi-typescript")
    if lacking := missing():
        print(
            f"Not here: {', '.join(lacking)}. The tests that need them are skipped and listed at the end.", flush=True
        )


def apt_command(packages: Sequence[str]) -> str:
    """What a user types to install `packages`."""
    return f"sudo apt-get install --no-install-recommends {' '.join(packages)}"


def _install_packages(packages: list[str]) -> None:
    names = ", ".join(packages)
    as_root = _as_root()
    if as_root is None:
        print(f"The tests also use {names}. Without root or sudo, ask for: {apt_command(packages)}", flush=True)
        return
    print(f"Installing Debian packages for the tests: {names} (up to 500 MB) …", flush=True)
    _run([*as_root, "sh", "-c", _APT, "sh", *packages], f"apt-get could not install {names}")


def _as_root() -> list[str] | None:
    """The prefix of a command that runs as root, or None where there is no way."""
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return []
    sudo = ["sudo", "--non-interactive"]
    if shutil.which("sudo") and subprocess.run([*sudo, "true"], capture_output=True, check=False).returncode == 0:
        return sudo
    return None


def _run(command: list[str], failure: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        print(f"{failure}: {lines[-1]}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
