"""Only trusted proxies can say who the caller is. Reloads of HAProxy refuse no request."""

from __future__ import annotations

import json
import ssl
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.compose.conftest import NETWORK, record
from tests.compose.service import PROJECT, Service
from tests.support.front_proxies import caddy_of_deploy, client_context
from tests.support.processes import eventually
from tests.support.raw_http import address_of

CLAIMED = "203.0.113.7"
RELOADS = 10
ASK = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"X-Forwarded-For": sys.argv[2], "X-Request-ID": sys.argv[3]})
urllib.request.urlopen(request, timeout=30)
"""


def logged_client(service: Service, part: str, request_id: str) -> str:
    """The caller's address in the log line that `part` wrote for the request."""

    def lines() -> list[dict[str, Any]]:
        text = service.compose("logs", "--no-log-prefix", "--no-color", "--since=5m", part)
        return [json.loads(line) for line in text.splitlines() if request_id in line]

    assert eventually(lambda: bool(lines()))
    client: str = lines()[-1]["client"]
    return client


def ask_from_outer(service: Service, url: str) -> tuple[str, str]:
    """Ask from a container that joined the network `outer`. Return the request's id and the container's address."""
    request_id = f"outer-{uuid.uuid4()}"
    address = f"{NETWORK}.150"  # outside the range from which Docker assigns addresses
    joining = ["run", "--rm", f"--network={PROJECT}_outer", f"--ip={address}", "--entrypoint=python3", "birds-triton"]
    service.engine.docker(*joining, "-c", ASK, url, CLAIMED, request_id)
    return request_id, address


@pytest.mark.parametrize("part", ["haproxy", "frontend"])
def test_proxy_on_this_machine_names_the_caller(service: Service, part: str) -> None:
    request_id = f"host-{uuid.uuid4()}"
    headers = {"X-Forwarded-For": CLAIMED, "X-Request-ID": request_id}
    assert httpx.get(f"{service.url}models", headers=headers, timeout=30).status_code == 200
    assert logged_client(service, part, request_id) == CLAIMED


def via_haproxy(service: Service) -> str:
    return service.address(service.container("haproxy"), "outer")


def directly(service: Service) -> str:
    return service.address(service.containers("frontend")[0], "outer")


@pytest.mark.parametrize("host", [via_haproxy, directly])
def test_container_on_outer_cannot_name_another_caller(service: Service, host: Callable[[Service], str]) -> None:
    request_id, address = ask_from_outer(service, f"http://{host(service)}:8000/models")
    assert logged_client(service, "frontend", request_id) == address


@pytest.mark.needs("caddy")
def test_caddy_serves_tls_in_front(service: Service, images: dict[str, bytes], tmp_path: Path) -> None:
    request_id = f"caddy-{uuid.uuid4()}"
    name, content = next(iter(images.items()))
    with caddy_of_deploy(address_of(service.url)[1], tmp_path) as url:
        context: ssl.SSLContext = client_context(tmp_path)
        transport = httpx.HTTPTransport(local_address="127.0.0.2", verify=context)
        with httpx.Client(transport=transport, timeout=60) as client:
            headers = {"X-Forwarded-For": CLAIMED, "X-Request-ID": request_id}
            answer = client.post(f"{url}files", files={"files": (name, content)}, headers=headers).json()
    assert answer["successful_results"][name]
    assert logged_client(service, "frontend", request_id) == "127.0.0.2"


def test_reloads_of_haproxy_refuse_no_request(service: Service) -> None:
    haproxy = service.container("haproxy")
    statuses = []
    for _ in range(RELOADS):
        service.execute(haproxy, "sh", "/etc/birds/reload.sh")
        statuses += [httpx.get(f"{service.url}health/live", timeout=30).status_code for _ in range(20)]
    record(f"HAProxy reloaded {RELOADS} times: {statuses.count(200)} of {len(statuses)} requests answered")
    assert set(statuses) == {200}
