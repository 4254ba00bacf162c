"""docker-compose.yml passes every setting on, and the files of containers stay in line with the code they run."""

from __future__ import annotations

import re
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
# What the containers themselves decide, and what only building a model reads.
NOT_PASSED = {"host", "port", "model_mirror"}
CLOSED = {"triton_open_apis"}  # a container's control endpoints are closed to everybody


@pytest.mark.parametrize("name", sorted(set(Settings.model_fields) - NOT_PASSED))
def test_every_setting_of_the_frontend_is_passed_on(name: str) -> None:
    assert f"BIRDS_{name.upper()}" in SERVICES["frontend"]["environment"]


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


def test_trusted_proxies_of_haproxy_can_be_set() -> None:
    assert SERVICES["haproxy"]["environment"]["BIRDS_PROXY_TRUSTED"] is None  # from the environment or .env, if there


@pytest.mark.parametrize("name", sorted(set(TritonSettings.model_fields) - CLOSED))
def test_every_setting_of_triton_is_passed_on(name: str) -> None:
    assert f"BIRDS_{name.upper()}" in SERVICES["model-builder"]["environment"]


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
