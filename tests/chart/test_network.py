"""The network policies allow the flows that the application needs, and no others."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from frontend.download.address_policy import _FORBIDDEN_V4, _FORBIDDEN_V6, _PUBLIC_V6, is_public
from tests.chart.flows import DNS, NEEDED, PROMETHEUS, STRANGER, WEB, endpoints, flows
from tests.chart.helm import render
from tests.chart.network import Endpoint, allowed, internet_blocks
from tests.chart.objects import Object


def test_only_needed_flows_are_allowed(minimal: list[Object]) -> None:
    assert flows(minimal) == NEEDED


def test_with_a_volume_triton_has_no_egress() -> None:
    objects = render(None, "model.source=volume", "model.volume.emptyDir.medium=")
    assert flows(objects) == {flow for flow in NEEDED if flow[0] != "triton"}


def test_names_are_looked_up_by_both_protocols(minimal: list[Object]) -> None:
    who = endpoints(minimal)
    assert all(allowed(minimal, who[pod], DNS, 53, "UDP") for pod in ("frontend", "triton", "test"))
    assert not allowed(minimal, who["frontend"], WEB, 53, "UDP")
    assert not allowed(minimal, who["frontend"], WEB, 443, "UDP")


def test_clients_and_networks_by_values(everything: list[Object]) -> None:
    who = endpoints(everything)
    edge, analytics = Endpoint({}, "edge"), Endpoint({}, "analytics")
    collector = Endpoint({}, "tracing")
    assert allowed(everything, edge, who["frontend"], 8000)
    assert not allowed(everything, STRANGER, who["frontend"], 8000)
    assert allowed(everything, PROMETHEUS, who["frontend"], 8000)
    assert allowed(everything, who["test"], who["frontend"], 8000)
    assert allowed(everything, analytics, who["triton"], 8010)
    assert not allowed(everything, edge, who["triton"], 8010)
    assert allowed(everything, who["frontend"], collector, 4318)
    assert allowed(everything, who["frontend"], Endpoint(address="10.20.3.4"), 5000)
    assert not allowed(everything, who["frontend"], Endpoint(address="10.21.3.4"), 80)
    assert not allowed(everything, who["frontend"], Endpoint(address="34.118.225.1"), 443)
    assert allowed(everything, who["frontend"], Endpoint(address="34.118.240.1"), 8443)
    assert not allowed(everything, who["frontend"], Endpoint(address="2600:1900::1"), 443)


def test_with_a_proxy_the_frontend_reaches_nothing_else() -> None:
    objects = render(None, "frontend.settings.download_proxy=http://proxy:3128")
    assert {target for source, target, _ in flows(objects) if source == "frontend"} == {"triton", "dns"}


@pytest.mark.parametrize("policy", ["birds-frontend", "birds-triton"])
def test_policies_and_frontend_agree_on_public_addresses(minimal: list[Object], policy: str) -> None:
    everywhere = (str(_PUBLIC_V6), [str(block) for block in _FORBIDDEN_V6])
    assert list(internet_blocks(minimal, policy)) == [("0.0.0.0/0", [str(b) for b in _FORBIDDEN_V4]), everywhere]
    for network, exceptions in internet_blocks(minimal, policy):
        assert is_public(ip_network(network)[0x0808080808080808 if ":" in network else 0x08080808])
        for block in exceptions:
            assert not is_public(ip_network(block)[0])
