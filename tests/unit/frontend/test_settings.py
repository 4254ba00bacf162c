"""Settings: read from BIRDS_ variables, checked, and frozen."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import ip_network

import pytest
from pydantic import ValidationError

from frontend.settings import Settings


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIRDS_DOWNLOAD_ALLOW_NETWORKS", "127.0.0.0/8, fd00::/8")
    monkeypatch.setenv("BIRDS_DOWNLOAD_PORTS", "80,8080")
    settings = Settings()
    assert settings.download_allow_networks == (ip_network("127.0.0.0/8"), ip_network("fd00::/8"))
    assert settings.download_ports == (80, 8080)


def test_an_empty_variable_is_an_empty_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIRDS_DOWNLOAD_ALLOW_NETWORKS", "")
    assert Settings().download_allow_networks == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "http"),
        ("MAX_IMAGES", "0"),
        ("MAX_K", "-1"),
        ("REQUEST_TIMEOUT", "0"),
        ("DOWNLOAD_TIMEOUT", "soon"),
        ("DOWNLOAD_PORTS", "80,65536"),
        ("DOWNLOAD_ALLOW_NETWORKS", "10.0.0.0/99"),
    ],
)
def test_unusable_values_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"BIRDS_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_a_bad_setting_stops_the_start() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "frontend"], env={"BIRDS_PORT": "none"}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("BIRDS_PORT: Input should be a valid integer")
    assert ended.stderr.count("\n") == 1
