"""Ports that the service cannot use are named before anything starts."""

from __future__ import annotations

import pytest

from frontend.settings import Settings
from tools.serve.ports import free_port, free_triton_ports, problems_with_ports


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_port_of_the_frontend_and_of_triton_is_refused(host: str) -> None:
    triton = free_triton_ports()
    frontend, http = problems_with_ports(Settings(host=host, port=triton.http), triton)
    assert frontend.startswith(f"{host}:{triton.http} cannot be used for the frontend: another listener uses it")
    assert http.startswith(f"127.0.0.1:{triton.http} cannot be used for Triton's HTTP: another listener uses it")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_different_free_ports_are_accepted(host: str) -> None:
    assert problems_with_ports(Settings(host=host, port=free_port()), free_triton_ports()) == []
