"""TCP ports: finds free ones, and checks whether those that the service needs are free."""

from __future__ import annotations

import os
import random
import socket

from frontend.settings import Settings
from tools.triton.arguments import Ports

_PORTS = range(20_000, 32_768)  # below Linux's default ip_local_port_range, which outgoing connections use
_EVERY_ADDRESS = "0.0.0.0"  # noqa: S104


def free_port() -> int:
    """Return a TCP port of the loopback interface that nothing uses and that no other caller will get.

    No outgoing connection takes it, and the UDP port of the same number stays bound until this process ends: it is the
    reservation that other callers, in any process, respect. Raises OSError if no port is free.
    """
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, socket.socket(type=socket.SOCK_DGRAM) as reservation:
            try:
                reservation.bind(("127.0.0.1", port))
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            os.dup(reservation.fileno())
            return port
    raise OSError("no TCP port is free")


def free_triton_ports() -> Ports:
    return Ports(free_port(), free_port(), free_port())


def problems_with_ports(settings: Settings, ports: Ports) -> list[str]:
    """Return a sentence for each port of the service that cannot be used."""
    wanted = [(settings.host, settings.port, "the frontend", "BIRDS_HOST and BIRDS_PORT")]
    wanted += [
        ("127.0.0.1", port, f"Triton's {what}", f'make serve ARGS="--triton-{what.lower()}-port PORT"')
        for what, port in (("HTTP", ports.http), ("gRPC", ports.grpc), ("metrics", ports.metrics))
    ]
    problems = []
    for address, port, purpose, remedy in wanted:
        rivals = [other for host, other, *_ in wanted if host == address or _EVERY_ADDRESS in (host, address)]
        reason = "another listener uses it" if rivals.count(port) > 1 else _why_not_bindable(address, port)
        if reason:
            problems.append(
                f"{host_port(address, port)} cannot be used for {purpose}: {reason} (to change it: {remedy})"
            )
    return problems


def host_port(host: str, port: int) -> str:
    """Return host and port as in a URL: an IPv6 address goes in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _why_not_bindable(address: str, port: int) -> str | None:
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
    except OSError as error:
        return str(error.strerror).lower()
    return None
