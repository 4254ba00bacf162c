"""docker-compose.yml passes every setting on, and the files of containers stay in line with the code they run."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
import yaml

from frontend.settings import Settings
from tools import ROOT
from tools.triton.arguments import Ports
from tools.triton.settings import TritonSettings

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
TRACING = (ROOT / "frontend" / "telemetry" / "tracing.py").read_text(encoding="utf-8")
SERVICES: dict[str, Any] = COMPOSE["services"]
DEFAULT_NETWORK = "10.201.57"
# Where a setting goes that does not keep its name inside the containers.
ELSEWHERE = {
    "host": SERVICES["haproxy"]["ports"][0],
    "port": SERVICES["haproxy"]["ports"][0],
    "trusted_proxies": SERVICES["haproxy"]["environment"]["BIRDS_PROXY_TRUSTED"],
}


def filled_in(text: str, **variables: str) -> str:
    """`text` with Compose's ${NAME:-default} replaced."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: variables.get(found[1], found[2]), text)


@pytest.mark.parametrize("name", sorted({*Settings.model_fields, *TritonSettings.model_fields}))
def test_every_setting_is_passed_on(name: str) -> None:
    variable = f"BIRDS_{name.upper()}"
    readers = (["frontend"] if name in Settings.model_fields else []) + (
        [] if name not in TritonSettings.model_fields else ["triton" if name == "triton_open_apis" else "model-builder"]
    )
    if name == "model_mirror":
        readers = ["model-builder"]
    for reader in readers if name not in ELSEWHERE else []:
        value = SERVICES[reader]["environment"][variable]
        assert value is None or f"${{{variable}:" in value
    assert name not in ELSEWHERE or f"${{{variable}:-" in ELSEWHERE[name]


@pytest.mark.parametrize(
    "name",
    [
        *sorted(set(re.findall(r"OTEL_[A-Z_]*[A-Z]", TRACING))),
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_TRACES_SAMPLER",
        "OTEL_TRACES_SAMPLER_ARG",
    ],
)
def test_tracing_variables_are_passed_on(name: str) -> None:
    environment = SERVICES["frontend"]["environment"]
    assert environment.get(name, "missing") is None  # from the environment or .env, if there


def test_frontends_reach_a_collector_outside() -> None:
    assert "outer" in SERVICES["frontend"]["networks"]
    assert not (COMPOSE["networks"]["outer"] or {}).get("internal")


def test_frontends_trust_haproxy_alone() -> None:
    address = SERVICES["haproxy"]["networks"]["inner"]["ipv4_address"]
    assert SERVICES["frontend"]["environment"]["BIRDS_TRUSTED_PROXIES"] == f"{address}/32"
    # HAProxy must reach them over that network, not over `outer`, where it has another address.
    name, _, _ = SERVICES["haproxy"]["environment"]["BIRDS_PROXY_FRONTENDS"].partition(":")
    assert SERVICES["frontend"]["networks"] == {"inner": {"aliases": [name]}, "outer": None}


@pytest.mark.parametrize("prefix", [DEFAULT_NETWORK, "172.30.9"])
def test_docker_gives_no_container_a_fixed_address(prefix: str) -> None:
    taken = filled_in(SERVICES["haproxy"]["networks"]["inner"]["ipv4_address"], BIRDS_NETWORK=prefix)
    subnets = []
    for network in COMPOSE["networks"].values():
        (pool,) = network["ipam"]["config"]
        pool = {name: filled_in(value, BIRDS_NETWORK=prefix) for name, value in pool.items()}
        subnets.append(IPv4Network(pool["subnet"]))
        assert IPv4Network(pool["ip_range"]).subnet_of(subnets[-1])
        assert IPv4Address(pool["gateway"]) in subnets[-1]
        assert not {IPv4Address(taken), IPv4Address(pool["gateway"])} & set(IPv4Network(pool["ip_range"]))
    inner, outer = subnets
    assert IPv4Address(taken) in inner
    assert not inner.overlaps(outer)


def test_documented_gateway_is_the_one_of_outer() -> None:
    (pool,) = COMPOSE["networks"]["outer"]["ipam"]["config"]
    documented = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    assert f"BIRDS_TRUSTED_PROXIES={filled_in(pool['gateway'])} " in documented


def test_tritons_ports_are_the_same_everywhere() -> None:
    ports = [str(port) for port in (Ports().http, Ports().grpc, Ports().metrics)]
    dockerfile = (ROOT / "Dockerfile.triton").read_text(encoding="utf-8")
    assert f"EXPOSE {' '.join(ports)}\n" in dockerfile
    passed_through = (ROOT / "deploy" / "haproxy" / "triton.cfg").read_text(encoding="utf-8")
    assert re.findall(r"bind :(\d+)", passed_through) == ports
    published = re.findall(r"TRITON_[A-Z]+_PORT:-(\d+)\}:(\d+)", " ".join(SERVICES["haproxy"]["ports"]))
    assert published == [(port, port) for port in ports]


def test_frontend_is_published_where_its_settings_say() -> None:
    default = Settings.model_fields
    host, port = default["host"].default, default["port"].default
    assert SERVICES["haproxy"]["ports"][0] == f"${{BIRDS_HOST:-{host}}}:${{BIRDS_PORT:-{port}}}:8000"


@pytest.mark.parametrize("name", [name for name in SERVICES if "build" not in SERVICES[name]])
def test_images_that_are_not_built_here_are_pinned(name: str) -> None:
    assert re.fullmatch(r"[\w./-]+:v?\d+(\.\d+)+[\w.-]*", SERVICES[name]["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_has_limits_and_no_privilege(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]


def test_triton_and_prometheus_have_no_route_out() -> None:
    assert COMPOSE["networks"]["inner"]["internal"] is True
    assert SERVICES["triton"]["networks"] == SERVICES["prometheus"]["networks"] == ["inner"]
