"""Settings: read from BIRDS_ variables, checked, and frozen."""

from __future__ import annotations

import re
import subprocess
import sys
from ipaddress import ip_network

import pytest
from pydantic import ValidationError

from frontend.settings import Settings
from tools.triton.settings import TritonSettings


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
        ("DOWNLOAD_PORTS", "80,8_0"),
        ("DOWNLOAD_ALLOW_NETWORKS", "10.0.0.0/99"),
    ],
)
def test_unusable_values_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"BIRDS_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


@pytest.mark.parametrize("kind", [Settings, TritonSettings])
@pytest.mark.parametrize("text", ["1_0", "inf", "nan", "1_0.0"])
def test_every_number_must_be_plain(
    monkeypatch: pytest.MonkeyPatch, kind: type[Settings | TritonSettings], text: str
) -> None:
    numbers = [name for name, field in kind.model_fields.items() if re.search("int|float", str(field.annotation))]
    numbers = [name for name in numbers if "tuple" not in str(kind.model_fields[name].annotation)]
    assert len(numbers) >= 6
    for name in numbers:
        with monkeypatch.context() as environment:
            environment.setenv(f"BIRDS_{name.upper()}", text)
            with pytest.raises(ValidationError, match=rf"^1 .*\n{name}\n"):
                kind()


def test_a_bad_setting_stops_the_start() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "frontend"], env={"BIRDS_PORT": "none"}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("BIRDS_PORT: Input should be a valid integer")
    assert ended.stderr.count("\n") == 1
