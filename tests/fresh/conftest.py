"""Bare Debian systems, in which `make serve` runs as on a new machine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from tests.support.service import Service
from tools import ROOT
from tools.serve.ports import free_port, free_triton_ports

CACHE = ROOT / ".cache" / "fresh"
USER = 1000
HOME = Path("/home/müller")
CHECKOUT = HOME / "Vögel"
# What `make serve` asks for, by release.
PACKAGES = {"bookworm": "libpython3.11", "trixie": "libpython3.13"}
START_SECONDS = 900  # for both releases at once on two cores, with nothing in pip's cache
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

    def start(self, *command: str, **settings: str) -> subprocess.Popen[bytes]:
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
            bufsize=0,
            start_new_session=True,
        )

    def serve(self) -> Service:
        """Start `make serve` on free ports."""
        port, triton = free_port(), free_triton_ports()
        ports = (triton.http, triton.grpc, triton.metrics)
        names = ("http", "grpc", "metrics")
        arguments = " ".join(f"--triton-{name}-port={number}" for name, number in zip(names, ports, strict=True))
        process = self.start("make", "serve", f"ARGS={arguments}", BIRDS_PORT=str(port))
        return Service(process, self.inside(CHECKOUT), port, ports)

    def run(self, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*command, **settings)
        output, _ = process.communicate(timeout=START_SECONDS)
        return subprocess.CompletedProcess(command, process.returncode, output.decode(errors="replace"), "")


def interrupt(process: subprocess.Popen[bytes]) -> None:
    """Send Ctrl-C to the service that `make serve` runs."""
    for child in psutil.Process(process.pid).children(recursive=True):
        if child.cmdline()[-1:] and "birds" in " ".join(child.cmdline()[:2]) and "serve" in child.cmdline():
            child.send_signal(signal.SIGINT)
            return
    raise AssertionError("birds serve is not running")


@pytest.fixture(scope="session")
def archives() -> dict[str, Path]:
    """Each release as a tar file: a minimal Debian with the packages that `make serve` needs. Built once."""
    if os.geteuid() != 0:
        pytest.skip("this is not root: sudo make test-fresh")
    CACHE.mkdir(parents=True, exist_ok=True)
    found = {release: CACHE / f"{release}.tar" for release in PACKAGES}
    builds = {release: _start_build(release, path) for release, path in found.items() if not path.exists()}
    for release, build in builds.items():
        _, said = build.communicate()
        assert build.returncode == 0, said[-3000:]
        _draft(found[release]).rename(found[release])
    return found


@pytest.fixture(scope="session")
def unpack(archives: dict[str, Path]) -> Iterator[Callable[[str], Debian]]:
    """Unpack a release into a new folder. All folders are removed at the end."""
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="roots-") as folder:

        def unpacked(release: str) -> Debian:
            root = Path(tempfile.mkdtemp(dir=folder, prefix=f"{release}-"))
            root.chmod(0o755)
            subprocess.run(["tar", "-xf", archives[release], "-C", root, "--exclude=./dev/*"], check=True)
            return Debian(root)

        yield unpacked


@pytest.fixture(scope="session")
def debians(unpack: Callable[[str], Debian]) -> dict[str, Debian]:
    """One Debian for each release, by name. Tests share it and continue from each other's state."""
    return {release: unpack(release) for release in PACKAGES}


@pytest.fixture(scope="session")
def services(debians: dict[str, Debian]) -> Iterator[dict[str, Service]]:
    """`make serve` in all releases at once, because each uses a single core for most of the time."""
    running = {release: debian.serve() for release, debian in debians.items()}
    yield running
    for service in running.values():
        service.process.kill()
        service.wait_until_ended()


@pytest.fixture(scope="session")
def collections(debians: dict[str, Debian], services: dict[str, Service]) -> dict[str, tuple[int, str]]:
    """Exit code and output of `make test` up to the collection of the tests, after the services have ended."""
    assert not any(service.process.poll() is None for service in services.values())
    running = {release: debian.start("make", "test", "ARGS=--collect-only -q") for release, debian in debians.items()}
    outputs = {release: process.communicate()[0].decode(errors="replace") for release, process in running.items()}
    return {release: (running[release].returncode, output) for release, output in outputs.items()}


def _start_build(release: str, archive: Path) -> subprocess.Popen[str]:
    packages: Sequence[str] = ("python3", "python3-venv", "make", "ca-certificates", PACKAGES[release])
    command = [
        "mmdebstrap",
        "--variant=minbase",
        "--dpkgopt=force-unsafe-io",
        f"--include={','.join(packages)}",
        release,
        str(_draft(archive)),
    ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _draft(archive: Path) -> Path:
    return archive.with_suffix(".new.tar")


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
