"""Bare Debian systems, in which `make serve` runs as on a new machine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from tools import ROOT

CACHE = ROOT / ".cache" / "fresh"
USER = 1000
HOME = Path("/home/müller")
CHECKOUT = HOME / "Vögel"
# What `make serve` asks for, by release.
PACKAGES = {"bookworm": "libpython3.11", "trixie": "libpython3.13"}
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_PASSED_ON = re.compile(
    r"PIP_.*|(https?|all|no)_proxy|SSL_CERT_.*|REQUESTS_CA_BUNDLE|BIRDS_MODEL_MIRROR", re.IGNORECASE
)


class Debian:
    """A Debian release in a folder. Its programs use this machine's network, and have their own processes and files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._mounts = [*_pip_folders(), *_paths_in_environment()]
        for path in (HOME, CHECKOUT, HOME / ".cache" / "pip", Path("/dev/shm")):
            self.inside(path).mkdir(parents=True, exist_ok=True)
        self.inside("/dev/shm").chmod(0o1777)
        _copy_checkout(self.inside(CHECKOUT))
        for file in ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"):
            if Path(file).exists():
                shutil.copy(file, self.inside(file))
        subprocess.run(["chown", "-R", f"{USER}:{USER}", self.inside(HOME)], check=True)

    def inside(self, path: str | Path) -> Path:
        return self.root / str(path).lstrip("/")

    def start(self, *command: str, **settings: str) -> subprocess.Popen[str]:
        """Start a command in the checkout as an ordinary user."""
        pip_cache = CACHE / "pip"
        pip_cache.mkdir(parents=True, exist_ok=True)
        os.chown(pip_cache, USER, USER)
        mounts = ["mount -t proc proc proc", f"mount --bind {shlex.quote(str(pip_cache))} .{HOME}/.cache/pip"]
        for device in _DEVICES:
            mounts.append(
                f"{{ [ -e dev/{device} ] || touch dev/{device}; }} && mount --bind /dev/{device} dev/{device}"
            )
        for path in self._mounts:
            self.inside(path).mkdir(parents=True, exist_ok=True)
            mounts.append(f"mount --bind {shlex.quote(str(path))} .{shlex.quote(str(path))}")
        environment = {
            "HOME": str(HOME),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            **{name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)},
            **settings,
        }
        assignments = [f"{name}={value}" for name, value in environment.items()]
        change = f'cd {shlex.quote(str(CHECKOUT))} && exec "$@"'
        inner = ["env", "-i", *assignments, "sh", "-c", change, "sh", *command]
        script = " && ".join(mounts) + f' && exec chroot --userspec={USER}:{USER} . "$@"'
        return subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh", *inner],
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def run(self, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*command, **settings)
        output, _ = process.communicate(timeout=600)
        return subprocess.CompletedProcess(command, process.returncode, output, "")


def interrupt(process: subprocess.Popen[str]) -> None:
    """Send Ctrl-C to the service that `make serve` runs."""
    for child in psutil.Process(process.pid).children(recursive=True):
        if child.cmdline()[-1:] and "birds" in " ".join(child.cmdline()[:2]) and "serve" in child.cmdline():
            child.send_signal(signal.SIGINT)
            return
    raise AssertionError("birds serve is not running")


@pytest.fixture(params=list(PACKAGES))
def debian(request: pytest.FixtureRequest) -> Iterator[Debian]:
    release: str = request.param
    if os.geteuid() != 0 or not shutil.which("mmdebstrap"):
        pytest.skip("mmdebstrap is missing or this is not root: sudo apt-get install mmdebstrap; sudo make test-fresh")
    CACHE.mkdir(parents=True, exist_ok=True)
    root = CACHE / f"root-{release}"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    subprocess.run(["tar", "-xf", _archive(release), "-C", root, "--exclude=./dev/*"], check=True)
    yield Debian(root)
    shutil.rmtree(root)


def _archive(release: str) -> Path:
    """Build the release once: a minimal Debian with the packages that `make serve` needs."""
    archive = CACHE / f"{release}.tar"
    if not archive.exists():
        packages: Sequence[str] = ("python3", "python3-venv", "make", "ca-certificates", PACKAGES[release])
        draft = archive.with_suffix(".new.tar")
        command = [
            "mmdebstrap",
            "--variant=minbase",
            "--dpkgopt=force-unsafe-io",
            f"--include={','.join(packages)}",
            release,
            str(draft),
        ]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr[-3000:]
        draft.rename(archive)
    return archive


def _copy_checkout(target: Path) -> None:
    """Copy the files that git tracks, as they are now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        source, copy = ROOT / name, target / name
        if source.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)


def _pip_folders() -> list[Path]:
    """The folders of this machine that its pip configuration names as package indexes."""
    listed = subprocess.run(["pip", "config", "list"], capture_output=True, text=True, check=False).stdout
    found = {Path(path) for path in re.findall(r"(?:file://|(?<=[ '\"]))(/[^\s'\"\\]+)", listed)}
    return sorted(_top(path) for path in found if path.is_dir())


def _paths_in_environment() -> list[Path]:
    values = [value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)]
    return sorted({Path(value) for value in values if value.startswith("/") and Path(value).is_dir()})


def _top(path: Path) -> Path:
    """The folder that holds an index with its files."""
    return path.parent if path.name == "simple" else path
