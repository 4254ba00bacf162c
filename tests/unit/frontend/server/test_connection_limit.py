"""The limit on client connections: half of the open files, so that downloads always get the other half."""

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

from frontend.server import connection_limit, slow_clients
from frontend.server.slow_clients import SlowClientProtocol
from frontend.settings import Settings
from tests.support.frontend_server import running_frontend
from tests.support.processes import eventually
from tests.support.raw_http import LIVE, address_of, connect, is_closed, read_response
from tools.serve.ports import free_port


@pytest.fixture
def url_of_three(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a frontend that holds three connections of one caller, and four in all."""
    monkeypatch.setattr(connection_limit, "MAX_CONNECTIONS", 4)
    # Frontends of earlier tests in this process may have ended before they counted the end of all connections.
    monkeypatch.setattr(slow_clients, "_connection_shares", connection_limit.ConnectionShares())
    monkeypatch.setattr(SlowClientProtocol, "receive_timeout_seconds", 600)  # only the limit closes connections
    with running_frontend(Settings(triton_url=f"127.0.0.1:{free_port()}")) as url:
        yield url


def is_answered(connection: socket.socket) -> bool:
    try:
        connection.sendall(LIVE)
        return read_response(connection).status == 200
    except (ConnectionError, EOFError):
        return False


def test_a_connection_over_the_limit_is_refused(url_of_three: str) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(connect(url_of_three)) for _ in range(3)]
        assert is_answered(held[-1])
        with connect(url_of_three) as fourth:
            assert is_closed(fourth)
        assert all(is_answered(connection) for connection in held)


def test_one_caller_leaves_a_connection_for_others(url_of_three: str) -> None:
    host, port = address_of(url_of_three)
    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(socket.create_connection((host, port), source_address=("127.0.9.1", 0)))
        with connect(url_of_three) as innocent:
            assert is_answered(innocent)


def test_a_closed_connection_makes_room(url_of_three: str) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(connect(url_of_three)) for _ in range(3)]
        assert all(is_answered(connection) for connection in held)
        held[0].close()

        def another_is_answered() -> bool:
            with connect(url_of_three) as another:
                return is_answered(another)

        assert eventually(another_is_answered)


def test_refused_connections_are_counted_and_logged(url_of_three: str, caplog: pytest.LogCaptureFixture) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(connect(url_of_three)) for _ in range(3)]
        assert all(is_answered(connection) for connection in held)
        for _ in range(5):
            with connect(url_of_three) as refused:
                assert is_closed(refused)
        held.pop().close()

        def counted() -> bool:
            try:
                text = httpx.get(f"{url_of_three}/metrics", timeout=60).text
            except httpx.TransportError:
                return False
            return "birds_refused_connections_total 5.0" in text

        assert eventually(counted)
    assert [record.args for record in caplog.records if "refused connections" in record.msg] in ([(1, 4, 3)], [])


def test_refusals_share_a_log_line_per_interval(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(connection_limit, "MAX_CONNECTIONS", 4)
    shares = connection_limit.ConnectionShares()
    assert all(shares.take("a", others) for others in range(3))
    for _ in range(4):
        assert not shares.take("a", 3)
    now += 11
    assert not shares.take("a", 3)
    lines = [record.args for record in caplog.records if record.name == connection_limit.__name__]
    assert lines == [(1, 4, 3), (4, 4, 3)]


@pytest.mark.parametrize(("soft", "most"), [(256, 128), (1_000_000, 4096), (resource.RLIM_INFINITY, 4096)])
def test_half_of_the_files_are_for_connections(monkeypatch: pytest.MonkeyPatch, soft: int, most: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
    assert connection_limit.max_connections() == most


def frontend_with_files(soft: int, hard: int, port: int) -> subprocess.Popen[str]:
    """Start `python -m frontend` with these limits on open files."""
    program = f"""
import resource, runpy
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
runpy.run_module("frontend", run_name="__main__", alter_sys=True)
"""
    environment = {**os.environ, "BIRDS_PORT": str(port)}
    return subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(("hard", "raised_to"), [(100_000, 8192), (2000, 2000)], ids=["enough", "a low hard limit"])
def test_the_soft_limit_is_raised(hard: int, raised_to: int) -> None:
    hard = min(hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    process = frontend_with_files(512, hard, free_port())
    try:

        def is_raised() -> bool:
            assert process.poll() is None
            return resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (min(raised_to, hard), hard)

        assert eventually(is_raised)
    finally:
        process.terminate()
        process.communicate()


def test_too_few_open_files_stop_the_start() -> None:
    process = frontend_with_files(64, 64, free_port())
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 2
    assert stderr == (
        "The limit on open files is 64, but the frontend needs at least 256. "
        "Raise it, for example with: ulimit -n 8192\n"
    )
