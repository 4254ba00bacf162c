"""The disk that holds the project, its cache and /tmp is full: the service continues, and even restarts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.faults import REQUEST_TIMEOUT_SECONDS, Record, under_load
from tests.support.service import Service, command, environment, make_project, serving
from tests.support.tiny_model import LABELS
from tools import ROOT
from tools.measure.soak.answers import Case
from tools.serve.ports import free_port, free_triton_ports

_MEGABYTES = 256


class Disk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave no byte free."""
        with self._ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
        assert shutil.disk_usage(self.folder).free == 0

    def empty(self) -> None:
        self._ballast.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def disk() -> Iterator[Disk]:
    folder = Path(tempfile.mkdtemp(prefix="birds-disk-", dir="/var/tmp"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_MEGABYTES}m", "birds-disk", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        folder.rmdir()
        pytest.skip("only root can mount a small disk")
    yield Disk(folder)
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


@pytest.fixture(scope="module")
def service_on_it(disk: Disk, tiny_repository: Path) -> Iterator[Service]:
    """Everything that it writes is on that disk, including its /tmp."""
    project = make_project(disk.folder / "project", tiny_repository)
    (disk.folder / "tmp").mkdir()
    settings = {"BIRDS_REQUEST_TIMEOUT": str(REQUEST_TIMEOUT_SECONDS), "BIRDS_ANSWER_CACHE_BYTES": "0"}
    with serving(project, in_its_tmp(disk), **settings) as service:
        yield service


def in_its_tmp(disk: Disk) -> list[str]:
    """A command before another that gives it the disk's /tmp."""
    # A checkout in /tmp itself must remain visible there.
    script = (
        """
        mkdir -p "$0${1#/tmp}" && mount --bind "$1" "$0${1#/tmp}" && mount --rbind "$0" /tmp && shift && exec "$@"
    """
        if ROOT.is_relative_to("/tmp")
        else 'mount --bind "$0" /tmp && shift && exec "$@"'
    )
    return ["unshare", "--mount", "sh", "-c", script, str(disk.folder / "tmp"), str(ROOT)]


@pytest.fixture
def full(disk: Disk, service_on_it: Service) -> Iterator[Service]:
    disk.fill()
    yield service_on_it
    disk.empty()


def test_service_survives_a_full_disk(full: Service, cases: list[Case], record: Record) -> None:
    with under_load(full.url, cases) as load:
        assert set(load.verdicts()) == {"complete"}
        for name, process in (("Triton", "bin/tritonserver"), ("The frontend", "-m frontend")):
            said, at = len(full.lines), time.monotonic()
            os.kill(full.named(process)[0], signal.SIGKILL)
            full.wait_for(f"{name}: back after", since=said)
            try:
                load.wait_for_complete(50, since=at, timeout_seconds=150)  # how long it took is recorded, not judged
            except TimeoutError as error:
                raise AssertionError("\n".join([str(error), *full.lines[-60:]])) from error
            record(f"{name} killed while the disk is full", load, at)


def test_first_start_on_a_full_disk_is_one_line(full: Service, disk: Disk) -> None:
    triton = free_triton_ports()
    ended = subprocess.run(
        [*in_its_tmp(disk), *command((triton.http, triton.grpc, triton.metrics))],
        cwd=full.project,
        env=environment(free_port()),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("birds: Triton cannot be started: [Errno 28] No space left on device")
    assert ended.stderr.count("\n") == 1
    assert full.process.poll() is None


@pytest.mark.slow
def test_publish_on_a_full_disk_changes_nothing(
    full: Service, disk: Disk, cases: list[Case], tiny_savedmodel: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"{label}\n" for label in LABELS))
    publishing = [
        sys.executable,
        "-m",
        "tools.cli",
        "models",
        "publish",
        f"--triton={full.triton_url}",
        "--not-default",
    ]
    publishing += [f"--savedmodel={tiny_savedmodel}", f"--labels={labels}"]

    def publish() -> subprocess.CompletedProcess[str]:
        return subprocess.run(publishing, cwd=full.project, capture_output=True, text=True, timeout=120, check=False)

    with under_load(full.url, cases, clients=2) as load:
        refused = publish()
        assert refused.returncode == 1
        assert refused.stderr.splitlines()[-1].startswith("birds: ")
        assert "Traceback" not in refused.stderr
        assert not (full.project / "model_repository" / "classifier" / "2").exists()
        disk.empty()
        assert publish().returncode == 0
    assert set(load.verdicts()) == {"complete"}
