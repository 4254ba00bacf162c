"""Looking up the addresses of Triton at a name server."""

from __future__ import annotations

import pytest

from frontend.inference.name_lookup import LookupFailed, look_up
from frontend.inference.target import HostPort, TritonTarget, triton_target
from tests.support.name_server import NAME, NameServer

MANY = [f"10.0.{n // 256}.{n % 256}" for n in range(300)]


@pytest.mark.parametrize("count", [1, 28, 29, 300])
async def test_finds_all_addresses_of_a_name(count: int) -> None:
    """29 addresses are more than an answer over UDP holds."""
    with NameServer(*MANY[:count]) as names:
        found = await look_up(triton_target(f"dns://{names.address}/{NAME}:8011"))
    assert {address.host for address in found} == set(MANY[:count])


async def test_unknown_name_is_a_failed_lookup() -> None:
    with NameServer() as names, pytest.raises(LookupFailed, match="has no addresses"):
        await look_up(triton_target(f"dns://{names.address}/nothing:8011"))


@pytest.mark.parametrize("name", ["a" * 64, "a" * 300, "a..b", "t\xfcr"])
async def test_impossible_name_is_a_failed_lookup(name: str) -> None:
    """Settings refuse such names already."""
    with NameServer() as names:
        host, _, port = names.address.partition(":")
        with pytest.raises(LookupFailed):
            await look_up(TritonTarget((HostPort(name, 8011),), HostPort(host, int(port))))
