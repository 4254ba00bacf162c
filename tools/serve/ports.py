"""Ports that are free right now."""

from __future__ import annotations

import socket

from tools.triton.arguments import Ports


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_triton_ports() -> Ports:
    return Ports(free_port(), free_port(), free_port())
