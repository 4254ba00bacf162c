"""What breaks is replaced, and its users notice nothing, or get documented answers for some seconds."""

from __future__ import annotations

import os
import signal
import time

import httpx
import pytest

from tests.compose.conftest import record
from tests.compose.service import Service
from tests.support.checked_load import CheckedLoad
from tests.support.processes import eventually
from tools.measure.soak.answers import Case


def load(service: Service, cases: list[Case]) -> CheckedLoad:
    return CheckedLoad(service.url, cases, clients=4, images_per_request=2)


def test_a_killed_frontend_costs_no_request(service: Service, cases: list[Case]) -> None:
    victim, *_ = service.containers("frontend")
    (pid,) = (pid for pid, command in service.processes(victim).items() if "frontend" in command)
    with load(service, cases) as users:
        users.wait_for_complete(20, since=0, timeout_seconds=60)
        os.kill(pid, signal.SIGKILL)
        killed_at = time.monotonic()
        time.sleep(1)
        users.wait_for_complete(40, since=killed_at, timeout_seconds=60)
        service.wait_until("healthy", victim)
    verdicts = users.verdicts()
    record(f"frontend killed: {verdicts.total()} requests, {dict(verdicts)}")
    assert set(verdicts) == {"complete"}
    assert eventually(lambda: service.inspect(victim)["RestartCount"] >= 1)


@pytest.mark.parametrize("model", ["classifier", "preprocess"])
def test_a_killed_stub_restarts_triton_in_its_container(service: Service, cases: list[Case], model: str) -> None:
    triton = service.container("triton")
    server, restarts = tritonserver(service), service.inspect(triton)["RestartCount"]
    stubs = [
        pid
        for pid, command in service.processes(triton).items()
        if "python_backend_stub" in command and f"/models/{model}/" in command
    ]
    with load(service, cases) as users:
        users.wait_for_complete(20, since=0, timeout_seconds=60)
        os.kill(stubs[0], signal.SIGKILL)
        killed_at = time.monotonic()
        # The frontends keep requests waiting for the new Triton. If it starts soon enough, the users notice nothing.
        assert eventually(lambda: tritonserver(service) not in (None, server))
        restarted_at = time.monotonic()
        users.wait_for_complete(40, since=restarted_at, timeout_seconds=120)
    seconds = max(users.recovered_at() - killed_at, 0)
    verdicts = users.verdicts(since=killed_at)
    figures = f"{dict(verdicts)}, failed images {dict(users.codes())}"
    record(f"stub of {model} killed: full service after {seconds:.1f} s; requests since {figures}")
    assert users.faults() == []
    assert users.verdicts()["unreachable"] == 0
    assert service.inspect(triton)["RestartCount"] == restarts, "the entrypoint restarts Triton, not Docker"
    service.wait_until("healthy", triton)


def tritonserver(service: Service) -> int | None:
    """The process id of the running tritonserver, or None while it is being restarted."""
    commands = service.processes(service.container("triton"))
    return next((pid for pid, command in commands.items() if command.split()[0].endswith("tritonserver")), None)


def test_four_frontends_all_get_requests(service: Service, cases: list[Case]) -> None:
    service.compose("up", "--wait", "--detach", "--no-recreate", "--scale", "frontend=4")
    try:
        frontends = service.containers("frontend")
        assert len(frontends) == 4
        before = {container: _classified(service, container) for container in frontends}
        with load(service, cases) as users:
            deadline = time.monotonic() + 60
            while any(_classified(service, container) <= before[container] for container in frontends):
                assert time.monotonic() < deadline, "a frontend got no request"
                time.sleep(0.5)
        assert set(users.verdicts()) == {"complete"}
    finally:
        service.compose("up", "--wait", "--detach", "--no-recreate", "--scale", "frontend=2")


def _classified(service: Service, frontend: str) -> float:
    """Images that this replica has answered for, by its own count."""
    script = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8000/metrics').read().decode())"
    lines = service.execute(frontend, "python", "-c", script).splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("birds_images_total"))


def test_triton_stops_cleanly(service: Service, cases: list[Case]) -> None:
    triton = service.container("triton")
    started = time.monotonic()
    service.compose("stop", "triton")
    record(f"docker compose stop triton: {time.monotonic() - started:.1f} s")
    assert service.inspect(triton)["State"]["ExitCode"] == 0
    refused = httpx.post(service.url, json={"images": [cases[0].url]}, timeout=90)
    assert refused.status_code == 503
    assert "Retry-After" in refused.headers
    started = time.monotonic()
    service.compose("up", "--wait", "--detach", "--no-recreate", "triton")
    for frontend in service.containers("frontend"):
        service.wait_until("healthy", frontend)
    record(f"Triton started again, frontends healthy: {time.monotonic() - started:.1f} s")
    assert httpx.post(service.url, json={"images": [cases[0].url]}, timeout=60).json()["failures"] == []
