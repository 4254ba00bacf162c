"""Which host names a request may use: a stranger's page must not reach a service on the loopback interface."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from frontend.settings import Settings
from tests.support.frontend_server import StartFrontend
from tests.support.raw_http import connect, read_response

PRIVATE_NAMES = [
    *("localhost", "LOCALHOST", "localhost.", "birds.localhost", "127.0.0.1", "127.8.9.1", "[::1]", "192.168.1.7"),
    *("[fd00::1]", "10.0.0.3", "my-machine", "x"),
]
STRANGERS_NAMES = [
    *("evil.example", "evil.example.", "127.0.0.1.evil.example", "localhost.evil.example", "EVIL.EXAMPLE", "a.b"),
    *("127.0.0.1.nip.io", "1.2.3.4.5", "a@127.0.0.1.evil.example", "[::1].evil.example", "localhost:80.evil.example"),
]


@pytest.fixture(scope="module")
def frontend(start_frontend: StartFrontend) -> httpx.Client:
    return start_frontend()


def status(frontend: httpx.Client, host: str, path: str = "/models") -> int:
    return frontend.get(path, headers={"Host": host}).status_code


@pytest.mark.parametrize("port", ["", ":8000"])
@pytest.mark.parametrize("name", PRIVATE_NAMES)
def test_private_names_are_accepted(frontend: httpx.Client, name: str, port: str) -> None:
    assert status(frontend, name + port, "/health/live") == 200


@pytest.mark.parametrize("port", ["", ":8000"])
@pytest.mark.parametrize("name", STRANGERS_NAMES)
def test_names_of_strangers_are_refused(frontend: httpx.Client, name: str, port: str) -> None:
    assert status(frontend, name + port, "/health/live") == 403


@pytest.mark.parametrize("path", ["/", "/docs", "/models", "/metrics", "/static/page.js", "/nothing"])
def test_every_path_is_checked(frontend: httpx.Client, path: str) -> None:
    assert status(frontend, "evil.example", path) == 403


def test_refusal_says_what_to_set(frontend: httpx.Client) -> None:
    response = frontend.post("/", headers={"Host": "evil.example:8000"}, json={"images": []})
    assert response.status_code == 403
    (error,) = response.json()["errors"]
    assert "evil.example:8000" in error
    assert "BIRDS_ALLOWED_HOSTS" in error


def test_refusal_repeats_little_of_a_long_name(frontend: httpx.Client) -> None:
    response = frontend.get("/models", headers={"Host": f"{'a' * 9000}.example"})
    assert response.status_code == 403
    assert len(response.content) < 1000


def test_request_without_a_host_is_accepted(frontend: httpx.Client) -> None:
    """HTTP/1.0 clients send none; browsers always do."""
    with connect(str(frontend.base_url)) as connection:
        connection.sendall(b"GET /health/live HTTP/1.0\r\n\r\n")
        assert read_response(connection).status == 200


@pytest.mark.parametrize(
    ("settings", "strangers", "named"),
    [
        ({"allowed_hosts": ("birds.example.org",)}, 403, 200),
        ({"allowed_hosts": ("BIRDS.example.org.",)}, 403, 200),
        ({"allowed_hosts": ("birds.example.org",), "api_keys": (SecretStr("a"),)}, 403, 200),
        ({"allowed_hosts": ("birds.example.org",), "host": "0.0.0.0"}, 403, 200),
        ({"allowed_hosts": ("*",)}, 200, 200),
        ({"api_keys": (SecretStr("a"),)}, 200, 200),
        ({"trusted_proxies": ("127.0.0.1/32",)}, 200, 200),
        ({"host": "0.0.0.0"}, 200, 200),
        ({"host": "::1"}, 403, 403),
        ({"host": "localhost"}, 403, 403),
    ],
    ids=str,
)
def test_settings_decide_which_names_are_checked(
    start_frontend: StartFrontend, settings: dict[str, Any], strangers: int, named: int
) -> None:
    frontend = start_frontend(**settings)
    assert status(frontend, "evil.example", "/health/live") == strangers
    assert status(frontend, "birds.example.org:8000", "/health/live") == named
    assert status(frontend, "127.0.0.1", "/health/live") == 200  # of a probe


@pytest.mark.parametrize(
    "name", ["birds.example.org:8000", "https://birds.example.org", "*.example.org", "a b", "[::1]"]
)
def test_what_is_not_a_host_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="allowed_hosts"):
        Settings(allowed_hosts=(name,))
