"""Frontends without a Triton."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from frontend.settings import Settings
from tests.support.frontend_server import StartFrontend, running_frontend
from tools.serve.ports import free_port


@pytest.fixture(scope="module")
def start_frontend() -> Iterator[StartFrontend]:
    """Start a frontend with these settings and return its client. All end with the module."""
    with ExitStack() as stack:

        def start(**settings: Any) -> httpx.Client:
            url = stack.enter_context(running_frontend(Settings(triton_url=f"127.0.0.1:{free_port()}", **settings)))
            return stack.enter_context(httpx.Client(base_url=url, timeout=30))

        yield start
