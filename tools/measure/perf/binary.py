"""Finds a perf_analyzer that runs on this machine, or fetches one into the cache.

NVIDIA publishes two wheels with the program: `perf-analyzer`, which needs glibc 2.38, and older versions of
`tritonclient`, which work with an older glibc but lack two libraries. The Triton wheel has these under longer names.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools import ROOT
from tools.errors import ToolError

_CACHE = ROOT / ".cache" / "perf_analyzer"
_NEEDED_LIBRARIES = ("libb64.so.0d", "libcudart.so.12")
_CHECK_SECONDS = 30


class PerfAnalyzerMissing(ToolError):
    """No perf_analyzer runs on this machine; the text says what was tried."""


@dataclass(frozen=True)
class PerfAnalyzer:
    """A program that runs here, and the environment variables that it needs."""

    path: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def version(self) -> str:
        """Its own version line. Raises PerfAnalyzerMissing if it does not start."""
        try:
            said = subprocess.run(
                [self.path, "--version"],
                env={**os.environ, **self.environment},
                capture_output=True,
                text=True,
                timeout=_CHECK_SECONDS,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            reason = (error.stderr or error.stdout).strip().splitlines() or [f"exit code {error.returncode}"]
            raise PerfAnalyzerMissing(f"{self.path} does not start: {reason[0]}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PerfAnalyzerMissing(f"{self.path} does not start: {error}") from error
        return (said.stdout + said.stderr).strip()


@dataclass(frozen=True)
class _Wheel:
    requirement: str
    sha256: str
    platform: str
    member: str


_NEW = _Wheel(
    "perf-analyzer==2.60.0",
    "23ef56b107ae9233e5cf09fbdf508dd9b936a52f1bae2f63f53c8117087b3f25",
    "manylinux_2_38_x86_64",
    "perf_analyzer/bin/perf_analyzer",
)
_OLD = _Wheel(
    "tritonclient==2.48.0",
    "7074885798e8a711fedaf94d6dd77f310973fe2ebf29fb2837db350a43e2d6a5",
    "manylinux1_x86_64",
    "tritonclient-2.48.0.data/data/bin/perf_analyzer",
)


def find_perf_analyzer() -> PerfAnalyzer:
    """The one on PATH if it starts, else the newest published one that this machine's glibc can run.

    Raises PerfAnalyzerMissing when it cannot be fetched or does not start.
    """
    if on_path := shutil.which("perf_analyzer"):
        installed = PerfAnalyzer(Path(on_path))
        try:
            installed.version()
            return installed
        except PerfAnalyzerMissing as error:
            print(f"{error}; fetching another", file=sys.stderr)
    fetched = _fetch(_NEW if _glibc() >= (2, 38) else _OLD)
    fetched.version()
    return fetched


def _glibc() -> tuple[int, ...]:
    name, version = platform.libc_ver()
    return tuple(int(part) for part in version.split(".")) if name == "glibc" else (0,)


def _fetch(wheel: _Wheel) -> PerfAnalyzer:
    folder = _CACHE / wheel.requirement
    if not folder.is_dir():
        print(f"Fetching perf_analyzer from the wheel {wheel.requirement} …", file=sys.stderr, flush=True)
        _CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=_CACHE) as name:
            fetching = Path(name)
            with zipfile.ZipFile(_download(wheel, fetching)) as archive:
                program = fetching / "ready" / "perf_analyzer"
                program.parent.mkdir()
                program.write_bytes(archive.read(wheel.member))
                program.chmod(0o755)
            try:
                program.parent.rename(folder)
            except OSError:
                if not folder.is_dir():  # otherwise another run has fetched it meanwhile
                    raise
    if wheel is _OLD:
        return PerfAnalyzer(folder / "perf_analyzer", {"LD_LIBRARY_PATH": str(_link_libraries(folder / "lib"))})
    return PerfAnalyzer(folder / "perf_analyzer")


def _download(wheel: _Wheel, folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--platform", wheel.platform, "--require-hashes", "-r", requirements.name]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        reason = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
        raise PerfAnalyzerMissing(f"pip cannot fetch {wheel.requirement}: {reason[-1]}")
    return next(folder.glob("*.whl"))


def _link_libraries(folder: Path) -> Path:
    """Return `folder`, with links to the two libraries under the names that the program asks for."""
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise PerfAnalyzerMissing(f"{', '.join(_NEEDED_LIBRARIES)} come with the wheel nvidia-pytriton: make serve")
    bundled = Path(spec.submodule_search_locations[0]).parent / "nvidia_pytriton.libs"
    folder.mkdir(exist_ok=True)
    for name in _NEEDED_LIBRARIES:
        stem, _, suffix = name.partition(".")
        found = sorted(bundled.glob(f"{stem}-*.{suffix}*"))
        if not found:
            raise PerfAnalyzerMissing(f"{name} is not among the libraries of the wheel nvidia-pytriton")
        link = folder / name
        if not link.exists() or link.resolve() != found[0].resolve():
            link.unlink(missing_ok=True)
            link.symlink_to(found[0])
    return folder
