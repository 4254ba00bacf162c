"""Connections of clients: as many as there is room for, and never so many that nothing is left for the work."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from frontend.server import descriptors
from frontend.settings import Settings
from tests.support.frontend_server import running_frontend
from tests.support.processes import eventually
from tests.unit.frontend.server.test_slow_clients import LIVE, closed_within
from tools.serve.ports import free_port


@pytest.fixture
def roomy_for_three(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """The address of a frontend that holds three connections."""
    monkeypatch.setattr(descriptors, "MOST_CONNECTIONS", 3)
    with running_frontend(Settings(triton_url=f"127.0.0.1:{free_port()}")) as url:
        yield httpx.URL(url).host, httpx.URL(url).port or 0


def answers(connection: socket.socket) -> bool:
    connection.settimeout(10)
    try:
        connection.sendall(LIVE)
        return connection.recv(65536).startswith(b"HTTP/1.1 200")
    except ConnectionError:
        return False


def test_one_connection_too_many_is_closed_at_once_and_the_others_go_on(roomy_for_three: tuple[str, int]) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection(roomy_for_three)) for _ in range(3)]
        assert answers(held[-1])
        with socket.create_connection(roomy_for_three) as fourth:
            assert closed_within(fourth, 5)
        assert all(answers(connection) for connection in held)


def test_a_connection_that_ends_makes_room(roomy_for_three: tuple[str, int]) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection(roomy_for_three)) for _ in range(3)]
        assert all(answers(connection) for connection in held)
        held[0].close()

        def another_is_answered() -> bool:
            with socket.create_connection(roomy_for_three) as another:
                return answers(another)

        assert eventually(another_is_answered)


def test_half_of_few_descriptors_is_kept_for_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, most in ((256, 128), (1_000_000, 4096), (resource.RLIM_INFINITY, 4096)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert descriptors.most_connections() == most


@pytest.mark.parametrize(("hard", "raised_to"), [(100_000, 8192), (2000, 2000)], ids=["enough", "a low hard limit"])
def test_the_frontend_takes_what_the_hard_limit_allows(hard: int, raised_to: int) -> None:
    hard = min(hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    port = free_port()
    program = f"""
import resource, runpy
resource.setrlimit(resource.RLIMIT_NOFILE, (512, {hard}))
runpy.run_module("frontend", run_name="__main__", alter_sys=True)
"""
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "BIRDS_PORT": str(port)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:

        def limit() -> tuple[int, int]:
            assert process.poll() is None
            time.sleep(0.05)
            return resource.prlimit(process.pid, resource.RLIMIT_NOFILE)

        assert eventually(lambda: limit() == (min(raised_to, hard), hard), 30)
    finally:
        process.terminate()
        process.wait()
