"""What a container may do, who can reach it, and what it can reach."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.compose.service import PROJECT, Service

RUNNING = ["triton", "frontend", "haproxy", "prometheus"]
PUBLISHED = {"8000/tcp", "8010/tcp", "8011/tcp", "8012/tcp"}
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"


@pytest.mark.parametrize("name", RUNNING)
def test_no_container_has_root_or_a_capability(service: Service, name: str) -> None:
    for container in service.containers(name):
        status = dict(line.split(":", 1) for line in service.execute(container, "cat", "/proc/1/status").splitlines())
        assert "0" not in status["Uid"].split()
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapBnd"], 16) == 0
        assert status["NoNewPrivs"].strip() == "1"


@pytest.mark.parametrize("name", RUNNING)
def test_containers_are_read_only_with_resource_limits(service: Service, name: str) -> None:
    for container in service.containers(name):
        assert not service.succeeds(container, "touch", "/written")
        host = service.inspect(container)["HostConfig"]
        assert host["ReadonlyRootfs"]
        assert host["Memory"] > 0
        assert host["PidsLimit"] > 0
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        assert host["LogConfig"]["Config"]["max-size"]


def test_triton_cannot_change_its_models_or_backends(service: Service) -> None:
    triton = service.container("triton")
    assert not service.succeeds(triton, "touch", "/models/classifier/written")
    assert not service.succeeds(triton, "touch", "/opt/tritonserver/backends/tensorflow/written")


@pytest.mark.parametrize("program", ["cc", "gcc", "g++", "make", "pip"])
def test_no_compiler_is_left_in_the_frontend(service: Service, program: str) -> None:
    frontend = service.containers("frontend")[0]
    assert not service.succeeds(frontend, "sh", "-c", f"command -v {program} && ls /opt/venv/bin/{program}")
    assert not service.succeeds(frontend, "/opt/venv/bin/python", "-c", "import pip")


def test_only_stated_ports_are_published_on_loopback(service: Service) -> None:
    published: dict[str, list[dict[str, str]]] = {}
    for container in service.compose("ps", "-q").split():
        ports = service.inspect(container)["NetworkSettings"]["Ports"]
        published |= {port: bindings for port, bindings in ports.items() if bindings}
    assert set(published) == PUBLISHED
    assert {binding["HostIp"] for bindings in published.values() for binding in bindings} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "repository/models/birds/load"),
        ("POST", "repository/index"),
        ("GET", "systemsharedmemory/status"),
        ("GET", "logging"),
        ("GET", "trace/setting"),
    ],
)
def test_control_apis_are_closed_to_everybody(service: Service, method: str, path: str) -> None:
    url = f"http://127.0.0.1:{service.triton_ports.http}/v2/{path}"
    assert httpx.request(method, url, timeout=30).status_code == 403


def test_triton_has_no_route_out(service: Service) -> None:
    outside = [service.address(service.container("haproxy"), "outer"), "8000"]
    for name in ("triton", "prometheus"):
        (container,) = service.containers(name)
        assert [*service.inspect(container)["NetworkSettings"]["Networks"]] == [f"{PROJECT}_inner"]
    assert service.succeeds(service.containers("frontend")[0], "python", "-c", CONNECT, *outside)
    assert not service.succeeds(service.container("triton"), "python3", "-c", CONNECT, *outside)


def test_inner_network_is_unreachable_from_outer(service: Service) -> None:
    inner = [(service.address(service.container("triton"), "inner"), 8010)]
    inner += [(service.address(container, "inner"), 8000) for container in service.containers("frontend")]
    network = json.loads(service.engine.docker("network", "inspect", f"{PROJECT}_inner"))[0]
    assert network["Internal"]
    probe = ["run", "--rm", "--network", f"{PROJECT}_outer", "--entrypoint", "python3", "birds-triton", "-c", CONNECT]
    for address, port in inner:
        with pytest.raises(RuntimeError, match=r"(?i)timed out|unreachable|no route"):
            service.engine.docker(*probe, address, str(port))
