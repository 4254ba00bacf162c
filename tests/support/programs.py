"""The programs that tests use beside the Python packages, and the Debian package that has each."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

AXE = Path(__file__).resolve().parents[1] / "system" / "browser" / "node_modules" / "axe-core" / "axe.min.js"


@dataclass(frozen=True)
class Program:
    """`package` is a Debian package, or None for what npm installs. `find` returns where the program is, or None."""

    package: str | None
    find: Callable[[], str | None]


def _any_of(*commands: str) -> Callable[[], str | None]:
    return lambda: next((path for command in commands if (path := shutil.which(command))), None)


# The keys are what `pytest.mark.needs` takes.
PROGRAMS = {
    "axe-core": Program(None, lambda: str(AXE) if AXE.exists() else None),
    "chromium": Program("chromium", _any_of("chromium", "chromium-browser", "google-chrome")),
    "haproxy": Program("haproxy", _any_of("haproxy")),
    "npm": Program("npm", _any_of("npm")),
    "prometheus": Program("prometheus", _any_of("promtool")),
}


def missing(names: list[str] | None = None) -> list[str]:
    """The names of the programs, all unless `names` are given, that this machine lacks."""
    return [name for name in names or PROGRAMS if PROGRAMS[name].find() is None]


def path_of(name: str) -> str:
    """Where the program `name` of PROGRAMS is. Raises LookupError where it is missing."""
    found = PROGRAMS[name].find()
    if found is None:
        raise LookupError(f"{name} is missing: run make test-setup")
    return found
