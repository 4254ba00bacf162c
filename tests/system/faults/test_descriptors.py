"""A frontend without a free file descriptor: documented answers or no connection, and full service when they return."""

from __future__ import annotations

import os
import resource
import time

import psutil

from tests.support.faults import Record, under_load
from tests.support.processes import eventually
from tests.support.service import Service
from tools.measure.soak.answers import Case


def test_file_descriptors_run_out(service: Service, cases: list[Case], record: Record) -> None:
    """The supervisor leaves it alone: it is busy, not dead."""
    assert eventually(lambda: supervisor_is_connected(service))  # from its first check on, a second after the start
    (frontend,) = service.named("-m frontend")
    said = len(service.lines)
    before = resource.prlimit(frontend, resource.RLIMIT_NOFILE)
    with under_load(service.url, cases, clients=16, Connection="close") as load:
        at = time.monotonic()
        few = len(os.listdir(f"/proc/{frontend}/fd")) - 8
        resource.prlimit(frontend, resource.RLIMIT_NOFILE, (few, before[1]))
        time.sleep(5)
        assert load.verdicts(at)["complete"] < sum(load.verdicts(at).values()), "nobody noticed the fault"
        resource.prlimit(frontend, resource.RLIMIT_NOFILE, before)
        load.wait_for_complete(50, since=time.monotonic(), timeout_seconds=90)
    record("file descriptors exhausted for 5 s", load, at)
    assert service.named("-m frontend") == [frontend]
    assert "Traceback" not in "\n".join(service.lines[said:])


def supervisor_is_connected(service: Service) -> bool:
    """Whether the supervisor has the connection to the frontend that it keeps open for its health checks."""
    connections = psutil.Process(service.process.pid).net_connections("tcp")
    return any(connection.raddr and connection.raddr.port == service.port for connection in connections)
