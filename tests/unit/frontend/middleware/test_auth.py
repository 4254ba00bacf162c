"""API keys: which are accepted, which paths need one, and that they stay secret."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
from birds_client import BirdsClient, Unauthorized
from pydantic import SecretStr, ValidationError

from frontend.api.schemas import ClassifyResponse
from frontend.app import create_app
from frontend.i18n.messages import catalogue, languages
from frontend.middleware.auth import ApiKeys
from frontend.settings import Settings
from tests.support.frontend_server import StartFrontend, running_app, running_frontend
from tools.serve.ports import free_port

KEYS = ("first-key-7Zq", "second/key+==")
PROTECTED = [("POST", "/"), ("POST", "/files"), ("GET", "/models"), ("GET", "/nothing"), ("PUT", "/files")]
PUBLIC = ["/", "/static/page.css", "/health/live", "/metrics", "/docs", "/openapi.json"]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def locked(start_frontend: StartFrontend, tmp_path_factory: pytest.TempPathFactory) -> httpx.Client:
    """A frontend that requires a key. One key is in the setting, one in a file."""
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(f"# the bird club\n\n  {KEYS[1]}  \n#no-key\n")
    return start_frontend(api_keys=(SecretStr(KEYS[0]),), api_keys_file=file)


@pytest.mark.parametrize(("method", "path"), PROTECTED)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        bearer("wrong"),
        bearer(KEYS[0][:-1]),
        bearer(f"{KEYS[0]},{KEYS[1]}"),
        bearer("#no-key"),
        {"Authorization": KEYS[0]},
        {"Authorization": f"Basic {KEYS[0]}"},
        {"X-API-Key": KEYS[0]},
    ],
    ids=str,
)
def test_a_missing_or_wrong_key_gets_401(locked: httpx.Client, method: str, path: str, headers: dict[str, str]) -> None:
    response = locked.request(method, path, headers=headers)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    message = catalogue("en")["errors"]["unauthorized"]
    assert response.json() == ClassifyResponse(errors=[message]).model_dump()


@pytest.mark.parametrize("language", languages())
def test_the_401_is_in_the_callers_language(locked: httpx.Client, language: str) -> None:
    headers = {"Accept-Language": language, "Accept": "application/x-ndjson"}
    assert locked.post("/", headers=headers).json()["errors"] == [catalogue(language)["errors"]["unauthorized"]]


@pytest.mark.parametrize("key", KEYS)
def test_each_key_is_accepted(locked: httpx.Client, key: str) -> None:
    for headers in (bearer(key), {"Authorization": f"bearer  {key}"}):
        assert locked.post("/", json={}, headers=headers).status_code == 200
        assert locked.get("/nothing", headers=headers).status_code == 404


@pytest.mark.parametrize("path", PUBLIC)
def test_public_paths_need_no_key(locked: httpx.Client, path: str) -> None:
    assert locked.get(path).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "//models",
        "/models/",
        "/static/../models",
        "/health/../models",
        "/Models",
        "/files/",
        "/%6dodels",
        "/docs//models",
    ],
)
def test_no_other_spelling_avoids_authentication(locked: httpx.Client, path: str) -> None:
    request = httpx.Request("GET", str(locked.base_url))
    request.url = locked.base_url.copy_with(raw_path=path.encode())
    response = locked.send(request)
    assert response.status_code in (401, 404)
    assert b"default" not in response.content


def test_the_client_reports_a_missing_key(locked: httpx.Client) -> None:
    with BirdsClient(str(locked.base_url)) as birds, pytest.raises(Unauthorized, match="API key"):
        birds.models()


def test_keys_are_neither_logged_nor_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = Settings(
        triton_url=f"127.0.0.1:{free_port()}", api_keys=tuple(map(SecretStr, KEYS)), rate_limit="5/minute"
    )
    with running_frontend(settings) as url:
        for key in (*KEYS, "wrong-key"):
            httpx.get(f"{url}/models", headers=bearer(key), timeout=30)
    shown = caplog.text + repr(settings) + str(settings.model_dump())
    assert not any(key in shown for key in (*KEYS, "wrong-key"))


def test_every_key_is_compared_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return one == other

    monkeypatch.setattr("frontend.middleware.auth.hmac.compare_digest", compare)
    ApiKeys(map(SecretStr, ["a", "b", "c"])).caller("Bearer a")
    assert len(compared) == 3


@pytest.mark.parametrize("key", ["two words", "schlüssel", "tab\tbed", "line\nbreak"])
def test_a_refused_key_is_not_shown(key: str) -> None:
    with pytest.raises(ValidationError, match="api_keys") as refusal:
        Settings(api_keys=(SecretStr(key),))
    assert key not in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"# only a comment\n", b"\xff\xfe", b"two words\n"])
def test_a_file_without_keys_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "keys").write_bytes(content)
    with pytest.raises(ValidationError, match="api_keys_file"):
        Settings(api_keys_file=tmp_path / "keys")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="No such file"):
        Settings(api_keys_file=tmp_path / "other")


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("c\n")
    monkeypatch.setenv("BIRDS_API_KEYS", "a, b")
    monkeypatch.setenv("BIRDS_API_KEYS_FILE", str(tmp_path / "keys"))
    assert [key.get_secret_value() for key in Settings().all_api_keys] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("options", "is_warned"),
    [
        ({"host": "0.0.0.0"}, True),
        ({"host": "frontend"}, True),
        ({"host": "::1"}, False),
        ({"host": "localhost"}, False),
        ({"host": "0.0.0.0", "api_keys": (SecretStr("a"),)}, False),
    ],
    ids=str,
)
def test_an_open_service_logs_a_warning(
    caplog: pytest.LogCaptureFixture, options: dict[str, Any], is_warned: bool
) -> None:
    with running_app(create_app(Settings(triton_url=f"127.0.0.1:{free_port()}", **options))):
        pass
    assert ("BIRDS_API_KEYS is not set" in caplog.text) is is_warned
