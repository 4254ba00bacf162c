"""Clients that give up soon, without the proxies and certificates of this machine."""

from __future__ import annotations

import pytest
from birds_client import asynchronous


@pytest.fixture(autouse=True)
def few_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asynchronous, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(asynchronous, "_ATTEMPTS", 2)
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
