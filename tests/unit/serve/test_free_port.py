"""A port that free_port() returned goes to nobody else, in this process or another, while the caller lives."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tools.serve import ports
from tools.serve.ports import free_port


def test_returned_port_can_be_bound() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))


def test_no_port_is_returned_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_PORTS", range(20_000, 20_100))
    taken = {free_port() for _ in range(50)}
    assert len(taken) == 50


def test_another_process_gets_another_port(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    script = f"from tools.serve import ports; ports._PORTS = range({port}, {port + 1}); ports.free_port()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path.cwd(), check=False)
    assert "no TCP port is free" in done.stderr
