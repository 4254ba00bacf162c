"""Fixtures: a real frontend with a fake Triton, and one without a Triton."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from frontend.settings import Settings
from tests.support.fake_triton import FakeTriton, running_in_a_thread
from tests.support.frontend_server import running_frontend
from tests.support.network import LOOPBACK
from tools.serve.ports import free_port


@pytest.fixture(scope="session")
def fake_triton_url() -> Iterator[str]:
    with running_in_a_thread(FakeTriton()) as url:
        yield url


@pytest.fixture(scope="session")
def frontend(fake_triton_url: str) -> Iterator[httpx.Client]:
    """A client of a real frontend; it may download from the loopback."""
    settings = Settings(triton_url=fake_triton_url, download_allow_networks=LOOPBACK)
    with running_frontend(settings) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def frontend_without_triton() -> Iterator[httpx.Client]:
    with (
        running_frontend(Settings(triton_url=f"127.0.0.1:{free_port()}")) as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        yield client
