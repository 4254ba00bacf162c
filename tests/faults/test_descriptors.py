"""A frontend without a free file descriptor: documented answers or no connection, and full service when they return."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.faults.conftest import REQUEST_TIMEOUT_SECONDS, Record, under_load
from tests.ports import free_port
from tests.processes import eventually
from tests.service import environment
from tools.soak.checked_load import COMPLETE, Case
from tools.triton_server import TritonServer


@pytest.fixture
def frontend(triton: TritonServer, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The URL and the process id of a frontend that is ready."""
    port = free_port()
    settings = environment(port, BIRDS_TRITON_URL=triton.grpc_url, BIRDS_REQUEST_TIMEOUT=str(REQUEST_TIMEOUT_SECONDS))
    log = tmp_path / "log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-m", "frontend"], env=settings, stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            assert eventually(lambda: is_ready(port), 30), log.read_text()
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.terminate()
            process.wait(30)
    assert "Traceback" not in log.read_text()


def is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def test_file_descriptors_run_out(frontend: tuple[str, int], cases: list[Case], record: Record) -> None:
    url, pid = frontend
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with under_load(url, cases, clients=16, Connection="close") as load:
        at = time.monotonic()
        few = len(os.listdir(f"/proc/{pid}/fd")) - 8
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, before[1]))
        time.sleep(4)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        returned_at = time.monotonic()
        load.wait_for_complete(50, since=returned_at, timeout_seconds=30)
    record("file descriptors exhausted for 4 s", load, at)
    assert load.recovered_at() > at, "nobody noticed the fault"
    assert load.verdicts()[COMPLETE] > 0
