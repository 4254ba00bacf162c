"""Time for a busy machine to connect to the fake Tritons."""

from __future__ import annotations

import pytest

from frontend.inference import server_pool


@pytest.fixture(autouse=True)
def patient_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no first connection or call fail because the machine was busy for seconds."""
    monkeypatch.setattr(server_pool, "_FIRST_CONNECTION_SECONDS", 60.0)
    monkeypatch.setattr(server_pool, "_GREETING_SECONDS", 60.0)
