"""Which browser pages of other origins may use the API."""

from __future__ import annotations

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from frontend.settings import Settings
from tests.support.frontend_server import StartFrontend

ORIGIN = "https://birds.example.org"


@pytest.fixture(scope="module")
def frontend(start_frontend: StartFrontend) -> httpx.Client:
    return start_frontend(cors_origins=(ORIGIN,), api_keys=(SecretStr("key"),), max_request_bytes=100)


def preflight(client: httpx.Client, origin: str, path: str = "/") -> httpx.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    return client.options(path, headers=headers)


@pytest.mark.parametrize("path", ["/", "/files"])
def test_a_preflight_request_needs_no_key(frontend: httpx.Client, path: str) -> None:
    response = preflight(frontend, ORIGIN, path)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    assert "authorization" in response.headers["Access-Control-Allow-Headers"]


def test_another_origin_gets_no_permission(frontend: httpx.Client) -> None:
    response = preflight(frontend, "https://other.example.org")
    assert response.status_code == 400
    assert "Access-Control-Allow-Origin" not in response.headers
    refused = frontend.post("/", headers={"Origin": "https://other.example.org"})
    assert "Access-Control-Allow-Origin" not in refused.headers


KEY = {"Authorization": "Bearer key"}


@pytest.mark.parametrize(
    ("status", "headers", "content"),
    [(401, {}, b"{}"), (413, KEY, b" " * 1000), (422, KEY, b"no JSON"), (200, KEY, b"{}")],
    ids=str,
)
def test_refused_requests_can_be_read(
    frontend: httpx.Client, status: int, headers: dict[str, str], content: bytes
) -> None:
    headers = {"Origin": ORIGIN, "Content-Type": "application/json", **headers}
    response = frontend.post("/", headers=headers, content=content)
    assert response.status_code == status
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Origin" in response.headers["Vary"]
    exposed = response.headers["Access-Control-Expose-Headers"].lower()
    assert {"retry-after", "x-request-id"} <= {name.strip() for name in exposed.split(",")}
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize(
    "place", ["frontend.middleware.auth._is_public", "frontend.api.routes.Answer"], ids=["auth", "route"]
)
def test_answer_to_a_bug_can_be_read(frontend: httpx.Client, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(place, fail)
    headers = {"Origin": ORIGIN, "X-Request-ID": "my-id", **KEY}
    response = frontend.post("/", headers=headers, json={"images": ["http://example.org/"]})
    assert response.status_code == 500
    assert response.json()["errors"] == ["An internal error occurred. It has been logged"]
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert response.headers.get_list("X-Request-ID") == ["my-id"]


def test_a_star_permits_every_origin(start_frontend: StartFrontend) -> None:
    response = start_frontend(cors_origins=("*",)).get("/models", headers={"Origin": "https://any.example"})
    assert response.headers["Access-Control-Allow-Origin"] == "*"


def test_without_the_setting_no_origin_is_permitted(start_frontend: StartFrontend) -> None:
    client = start_frontend()
    assert preflight(client, ORIGIN).status_code == 405
    assert "Access-Control-Allow-Origin" not in client.get("/models", headers={"Origin": ORIGIN}).headers


@pytest.mark.parametrize("origin", ["example.org", "https://example.org/", "https://a@b", "ftp://a", "null", "**"])
def test_an_unusable_origin_is_refused(origin: str) -> None:
    with pytest.raises(ValidationError, match="cors_origins"):
        Settings(cors_origins=(origin,))
