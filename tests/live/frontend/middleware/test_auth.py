"""Who may ask, and how much: keys, limits for each caller, and what stays open."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
from birds_client import BirdsClient, Unauthorized
from pydantic import SecretStr, ValidationError

from frontend.app import create_app
from frontend.errors import RateLimited, TooManyImages
from frontend.i18n.messages import catalogue, languages
from frontend.middleware.auth import ApiKeys
from frontend.middleware.rate_limit import RateLimit
from frontend.middleware.request_context import network_caller
from frontend.settings import Settings
from tests.support.answers import NDJSON, NOTHING
from tests.support.frontend_server import running_app, running_frontend
from tests.support.image_server import ImageServer
from tests.support.images import GREEN, flat
from tests.support.network import LOOPBACK
from tools.serve.triton_process import TritonServer

KEYS = ("first-key-7Zq", "second/key+==")
PROTECTED = [("POST", "/"), ("POST", "/files"), ("GET", "/models"), ("GET", "/nothing"), ("PUT", "/files")]
OPEN = ["/", "/static/page.css", "/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json"]
PHOTO = ("files", ("green.png", flat(GREEN)))


def settings_for(triton: TritonServer, **options: Any) -> Settings:
    return Settings(triton_url=triton.grpc_url, download_allow_networks=LOOPBACK, **options)


@pytest.fixture(scope="module")
def locked(triton: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A frontend that asks for a key: one is in the variable, one in a file."""
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(f"# the bird club\n\n  {KEYS[1]}  \n#no-key\n")
    settings = settings_for(triton, api_keys=(SecretStr(KEYS[0]),), api_keys_file=file)
    with running_frontend(settings) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


def bearing(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(("method", "path"), PROTECTED)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        bearing("wrong"),
        bearing(KEYS[0][:-1]),
        bearing(f"{KEYS[0]},{KEYS[1]}"),
        bearing("#no-key"),
        {"Authorization": KEYS[0]},
        {"Authorization": f"Basic {KEYS[0]}"},
        {"X-API-Key": KEYS[0]},
    ],
    ids=str,
)
def test_without_an_accepted_key_the_answer_is_401_in_the_documented_shape(
    locked: httpx.Client, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = locked.request(method, path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    message = "A valid API key is required. Send it in the header Authorization: Bearer KEY"
    assert answer.json() == NOTHING | {"time_taken": 0, "errors": [message]}


@pytest.mark.parametrize("language", languages())
def test_it_is_said_in_the_callers_language(locked: httpx.Client, language: str) -> None:
    answer = locked.post("/", headers={"Accept-Language": language, **NDJSON})
    assert answer.json()["errors"] == [catalogue(language)["errors"]["unauthorized"]]


@pytest.mark.parametrize("key", KEYS)
def test_each_key_opens_everything(locked: httpx.Client, image_server: ImageServer, key: str) -> None:
    url = image_server.add("/green.png", flat(GREEN))
    for headers in (bearing(key), {"Authorization": f"bearer  {key}"}):
        assert url in locked.post("/", json={"images": [url]}, headers=headers).json()["successful_results"]
        assert locked.post("/files", files=[PHOTO], headers=headers).json()["successful_results"]
        assert locked.get("/models", headers=headers).json()["default"] == "1"
    assert locked.get("/nothing", headers=bearing(key)).status_code == 404


@pytest.mark.parametrize("path", OPEN)
def test_page_health_metrics_and_documentation_ask_for_no_key(locked: httpx.Client, path: str) -> None:
    assert locked.get(path).status_code == 200


@pytest.mark.parametrize(
    "path", ["//models", "/models/", "/static/../models", "/health/../models", "/Models", "/files/", "/%6dodels"]
)
def test_no_other_spelling_leads_past_the_gate(locked: httpx.Client, path: str) -> None:
    request = httpx.Request("GET", str(locked.base_url))
    request.url = locked.base_url.copy_with(raw_path=path.encode())
    answer = locked.send(request)
    assert answer.status_code in (401, 404)
    assert b"default" not in answer.content


def test_the_client_tells_a_missing_key_from_a_right_one(locked: httpx.Client) -> None:
    with BirdsClient(str(locked.base_url), api_key=KEYS[1]) as birds:
        assert birds.models().default == "1"
    with BirdsClient(str(locked.base_url)) as birds, pytest.raises(Unauthorized, match="API key"):
        birds.models()


def test_keys_are_neither_logged_nor_shown(triton: TritonServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = settings_for(triton, api_keys=tuple(map(SecretStr, KEYS)), rate_limit="5/minute")
    with running_frontend(settings) as url:
        for key in (*KEYS, "wrong-key"):
            httpx.get(f"{url}/models", headers=bearing(key), timeout=30)
    shown = caplog.text + repr(settings) + str(settings.model_dump())
    assert not any(key in shown for key in (*KEYS, "wrong-key"))


def test_every_key_is_compared_whichever_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return one == other

    monkeypatch.setattr("frontend.middleware.auth.hmac.compare_digest", compare)
    keys = ApiKeys(map(SecretStr, ["a", "b", "c"]))
    keys.caller("Bearer a")
    assert len(compared) == 3


@pytest.mark.parametrize("key", ["two words", "schlüssel", "tab\tbed", "line\nbreak"])
def test_a_key_that_no_header_carries_is_refused_without_being_shown(key: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="api_keys") as refusal:
        Settings(api_keys=(SecretStr(key),))
    assert key not in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"# only a remark\n", b"\xff\xfe", b"two words\n"])
def test_a_file_without_keys_is_no_open_door(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "keys").write_bytes(content)
    with pytest.raises(ValidationError, match="api_keys_file"):
        Settings(api_keys_file=tmp_path / "keys")
    with pytest.raises(ValidationError, match="No such file"):
        Settings(api_keys_file=tmp_path / "other")


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("c\n")
    monkeypatch.setenv("BIRDS_API_KEYS", "a, b")
    monkeypatch.setenv("BIRDS_API_KEYS_FILE", str(tmp_path / "keys"))
    assert [key.get_secret_value() for key in Settings().all_api_keys] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ({"host": "0.0.0.0"}, True),
        ({"host": "frontend"}, True),
        ({"host": "::1"}, False),
        ({"host": "localhost"}, False),
        ({"host": "0.0.0.0", "api_keys": (SecretStr("a"),)}, False),
    ],
    ids=str,
)
def test_an_open_service_beyond_the_loopback_is_warned_of(
    triton: TritonServer, caplog: pytest.LogCaptureFixture, options: dict[str, Any], warned: bool
) -> None:
    with running_app(create_app(settings_for(triton, **options))):
        pass
    assert ("BIRDS_API_KEYS is not set" in caplog.text) is warned


def test_images_are_counted_and_too_many_get_429(triton: TritonServer, image_server: ImageServer) -> None:
    urls = [image_server.add(f"/{n}.png", flat(GREEN)) for n in range(6)]
    settings = settings_for(triton, rate_limit="10/hour")
    with running_frontend(settings) as url, httpx.Client(base_url=url, timeout=30) as client:
        assert client.post("/", json={"images": [*urls, *urls]}).status_code == 200  # six: each counts once
        assert client.post("/", json={"images": urls, "k": 99}).status_code == 200  # nothing was processed
        for headers in ({}, NDJSON):
            refused = client.post("/", json={"images": urls}, headers=headers)
            assert refused.status_code == 429
            assert 1 <= int(refused.headers["Retry-After"]) <= 3600
            message = "Too many images were requested in a short time. Try again later"
            assert refused.json() == NOTHING | {"time_taken": 0, "errors": [message]}
        assert client.post("/", json={"images": urls[:2]}).status_code == 200  # nothing was counted for the refused
        assert client.post("/files", files=[PHOTO]).status_code == 200
        refused = client.post("/files", files=[PHOTO, PHOTO])
        assert (refused.status_code, refused.json()["errors"]) == (429, [message])
        for path in OPEN:
            assert client.get(path).status_code == 200


def test_a_stream_of_uploads_tells_the_limit_in_its_last_line(triton: TritonServer) -> None:
    settings = settings_for(triton, rate_limit="3/hour")
    with running_frontend(settings) as url:
        answer = httpx.post(f"{url}/files", files=[PHOTO] * 9, headers=NDJSON, timeout=30)
    last = json.loads(answer.text.splitlines()[-1])
    assert last.get("status", answer.status_code) == 429
    assert last["errors"]


def test_each_key_has_a_limit_of_its_own(triton: TritonServer) -> None:
    settings = settings_for(triton, rate_limit="1/hour", api_keys=tuple(map(SecretStr, KEYS)))
    with running_frontend(settings) as url:
        statuses = [
            httpx.post(f"{url}/files", files=[PHOTO], headers=bearing(key), timeout=30).status_code
            for key in (*KEYS, *KEYS, "wrong")
        ]
    assert statuses == [200, 200, 429, 429, 401]


@pytest.mark.parametrize(
    ("trusted", "addresses", "statuses"),
    [
        ("", ["192.0.2.1", "192.0.2.2"], [200, 429]),  # nobody is believed
        ("127.0.0.0/8", ["192.0.2.1", "192.0.2.2", "192.0.2.1"], [200, 200, 429]),
        # What a stranger wrote himself stands left of what the proxy added.
        ("127.0.0.1/32", ["192.0.2.8, 192.0.2.1", "192.0.2.9, 192.0.2.1"], [200, 429]),
        ("192.0.2.0/24", ["192.0.2.1", "192.0.2.2"], [200, 429]),
    ],
)
def test_a_stranger_cannot_choose_his_address(
    triton: TritonServer, trusted: str, addresses: list[str], statuses: list[int]
) -> None:
    proxies = (ip_network(trusted),) if trusted else ()
    with running_frontend(settings_for(triton, rate_limit="1/hour", trusted_proxies=proxies)) as url:
        answered = [
            httpx.post(f"{url}/files", files=[PHOTO], headers={"X-Forwarded-For": address}, timeout=30).status_code
            for address in addresses
        ]
    assert answered == statuses


def test_addresses_of_one_customer_count_as_one_and_memory_is_bounded() -> None:
    assert network_caller("2001:db8::1") == network_caller("2001:db8::ffff:2")
    assert network_caller("::ffff:192.0.2.1") != network_caller("::ffff:192.0.2.2")
    assert network_caller("::ffff:192.0.2.1") == network_caller("192.0.2.1")
    limit = RateLimit("1/hour")
    counters = {limit._counter(network_caller(f"10.{a}.{b}.1")) for a in range(256) for b in range(256)}
    assert len(counters) <= 8192


def test_what_was_spent_comes_back_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000.0
    monkeypatch.setattr("limits.storage.memory.time.time", lambda: now)
    limit = RateLimit("10/minute")
    limit.charge("someone", 10)
    with pytest.raises(RateLimited) as refusal:
        limit.check("someone")
    for _ in range(20):  # whoever waits as he is told is let in before long
        now += float(refusal.value.parameters["seconds"])
        try:
            limit.check("someone")
            break
        except RateLimited as again:
            refusal.value.parameters = again.parameters
    assert 1_000_000 < now <= 1_000_000 + 120


@pytest.mark.parametrize("limit", ["", "600", "many/minute", "600/fortnight", "-1/minute", "0/minute"])
def test_a_limit_that_makes_no_sense_is_refused(limit: str) -> None:
    with pytest.raises(ValidationError, match="rate_limit"):
        Settings(rate_limit=limit)


def test_a_request_that_no_waiting_would_help_is_not_told_to_wait() -> None:
    limit = RateLimit("10/minute")
    with pytest.raises(TooManyImages) as refusal:
        limit.charge("a", 11)
    assert refusal.value.parameters == {"max": 10}
    limit.charge("a", 10)  # nothing was counted
