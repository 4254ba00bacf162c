"""An image host dies, stalls or flaps: its images fail with a code, and those of other hosts are unaffected."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.faults import Record, good_images, under_load
from tests.support.service import Service
from tools.measure.soak.checked_load import COMPLETE, PARTIAL, Case
from tools.serve.ports import free_port


class Host:
    """Python's own file server as a process, on a port that it comes back to."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self._folder = folder
        for name, (image, _) in good_images().items():
            (folder / name).write_bytes(image)
        self.start()

    def cases(self) -> list[Case]:
        return [Case(f"http://127.0.0.1:{self._port}/{name}", bird) for name, (_, bird) in good_images().items()]

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "http.server", str(self._port), "--bind=127.0.0.1", f"--directory={self._folder}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def freeze(self, seconds: float) -> None:
        self._process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self._process.send_signal(signal.SIGCONT)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.kill()


def dies(host: Host) -> None:
    host.kill()
    time.sleep(2)
    host.start()


def stalls(host: Host) -> None:
    host.freeze(4)  # twice as long as a download may take


def flaps(host: Host) -> None:
    for _ in range(3):
        host.kill()
        time.sleep(1)
        host.start()
        time.sleep(0.5)
        host.freeze(0.3)


@pytest.mark.parametrize(
    ("fault", "inject", "codes"),
    [
        pytest.param("an image host gone for 2 s", dies, {"download_failed"}, id="dead"),
        pytest.param("an image host stalled for 4 s", stalls, {"download_timeout"}, id="slow"),
        pytest.param("an image host flapping", flaps, {"download_failed", "download_timeout"}, id="flapping"),
    ],
)
def test_an_image_host_fails(
    service: Service,
    cases: list[Case],
    host: Host,
    record: Record,
    fault: str,
    inject: Callable[[Host], None],
    codes: set[str],
) -> None:
    with under_load(service.url, cases, clients=3) as others, under_load(service.url, host.cases(), clients=3) as load:
        at = time.monotonic()
        inject(host)
        load.wait_for_complete(20, since=time.monotonic(), timeout_seconds=30)
    record(fault, load, at)
    assert set(load.codes()) <= codes
    assert load.codes(), "nobody noticed the fault"
    assert set(load.verdicts()) == {COMPLETE, PARTIAL}
    assert set(others.verdicts()) == {COMPLETE}
