"""Fixtures: a real frontend without a Triton."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from frontend.settings import Settings
from tests.support.frontend_server import running_frontend
from tools.serve.ports import free_port


@pytest.fixture(scope="session")
def frontend_without_triton() -> Iterator[httpx.Client]:
    with (
        running_frontend(Settings(triton_url=f"127.0.0.1:{free_port()}")) as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        yield client
