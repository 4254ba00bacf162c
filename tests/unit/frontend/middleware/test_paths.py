"""One path for each resource: below a proxy's path or not, with a trailing slash or without."""

from __future__ import annotations

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from frontend.settings import Settings
from tests.support.frontend_server import StartFrontend


@pytest.fixture(scope="module")
def below_birds(start_frontend: StartFrontend) -> httpx.Client:
    """A frontend that a proxy serves below /birds, with a key."""
    return start_frontend(root_path="/birds", api_keys=(SecretStr("key"),))


@pytest.mark.parametrize("prefix", ["", "/birds"], ids=["proxy removes the path", "proxy passes it on"])
@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/health/live", 200), ("/openapi.json", 200), ("/static/page.css", 200), ("/models", 401)],
)
def test_both_kinds_of_proxies_work(below_birds: httpx.Client, prefix: str, path: str, status: int) -> None:
    assert below_birds.get(prefix + path).status_code == status


@pytest.mark.parametrize("path", ["/birdsnest", "/birdshealth/live", "/other/health/live", "/birds/birds/health/live"])
def test_similar_paths_are_not_served(below_birds: httpx.Client, path: str) -> None:
    assert below_birds.get(path).status_code == 401
    assert below_birds.get(path, headers={"Authorization": "Bearer key"}).status_code == 404


def test_the_documentation_names_the_root_path(below_birds: httpx.Client, start_frontend: StartFrontend) -> None:
    assert below_birds.get("/openapi.json").json()["servers"] == [{"url": "/birds"}]
    assert "servers" not in start_frontend().get("/openapi.json").json()


@pytest.mark.parametrize("path", ["/files/", "/birds/files/"])
def test_a_trailing_slash_is_not_redirected(below_birds: httpx.Client, path: str) -> None:
    headers = {"Authorization": "Bearer key", "X-Forwarded-Proto": "https"}
    assert below_birds.post(path, headers=headers).status_code == 503  # from Triton's absence, so the route was found


@pytest.mark.parametrize("path", ["birds", "/birds/", "/", "/a//b", "/a b", "/ä", "/a?b", "https://example.org/birds"])
def test_an_unusable_root_path_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="root_path"):
        Settings(root_path=path)
