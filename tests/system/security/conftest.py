"""The frontend under attack, in a process of its own. It calls a fake Triton: Triton is not attacked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fake_triton import FakeTriton, running_in_a_thread
from tests.support.frontend_process import frontend_process


@pytest.fixture(scope="module")
def frontend(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """Yield URL and process id. A module's FRONTEND_SETTINGS are BIRDS_* variables without prefix."""
    settings = getattr(request.module, "FRONTEND_SETTINGS", {})
    with running_in_a_thread(FakeTriton()) as triton_url, frontend_process(triton_url, **settings) as process:
        yield process
