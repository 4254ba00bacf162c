"""Keys and rate limits of a frontend that classifies."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from birds_client import BirdsClient
from pydantic import SecretStr

from frontend.api.schemas import ClassifyResponse
from frontend.i18n.messages import catalogue
from frontend.settings import Settings
from tests.support.frontend_server import running_frontend
from tests.support.image_server import ImageServer
from tests.support.images import GREEN, flat
from tests.support.network import LOOPBACK
from tools.serve.triton_process import TritonServer

KEYS = ("first-key-7Zq", "second/key+==")
PUBLIC = ["/", "/static/page.css", "/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json"]
PHOTO = ("files", ("green.png", flat(GREEN)))
NDJSON = {"Accept": "application/x-ndjson"}


def settings_for(triton: TritonServer, **options: Any) -> Settings:
    return Settings(triton_url=triton.grpc_url, download_allow_networks=LOOPBACK, **options)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_key_permits_every_request(triton: TritonServer, image_server: ImageServer) -> None:
    photo_url = image_server.add("/green.png", flat(GREEN))
    with running_frontend(settings_for(triton, api_keys=(SecretStr(KEYS[0]),))) as url:
        for headers in (bearer(KEYS[0]), {"Authorization": f"bearer  {KEYS[0]}"}):
            with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
                assert photo_url in client.post("/", json={"images": [photo_url]}).json()["successful_results"]
                assert client.post("/files", files=[PHOTO]).json()["successful_results"]
        with BirdsClient(url, api_key=KEYS[0]) as birds:
            assert birds.models().default == "1"


def test_images_over_the_limit_get_429(triton: TritonServer, image_server: ImageServer) -> None:
    urls = [image_server.add(f"/{n}.png", flat(GREEN)) for n in range(6)]
    message = catalogue("en")["errors"]["rate_limited"]
    with (
        running_frontend(settings_for(triton, rate_limit="10/hour")) as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        assert client.post("/", json={"images": [*urls, *urls]}).status_code == 200  # six: each URL counts once
        assert client.post("/", json={"images": urls, "k": 99}).status_code == 200  # nothing was processed
        for headers in ({}, NDJSON):
            refused = client.post("/", json={"images": urls}, headers=headers)
            assert refused.status_code == 429
            assert 1 <= int(refused.headers["Retry-After"]) <= 2 * 3600  # until images of this hour count less
            assert refused.json() == ClassifyResponse(errors=[message]).model_dump()
        assert client.post("/", json={"images": urls[:2]}).status_code == 200  # a refusal counts nothing
        assert client.post("/files", files=[PHOTO]).status_code == 200
        refused = client.post("/files", files=[PHOTO, PHOTO])
        assert (refused.status_code, refused.json()["errors"]) == (429, [message])
        for path in PUBLIC:
            assert client.get(path).status_code == 200


def test_a_stream_ends_with_the_rate_limit(triton: TritonServer) -> None:
    with running_frontend(settings_for(triton, rate_limit="3/hour")) as url:
        response = httpx.post(f"{url}/files", files=[PHOTO] * 9, headers=NDJSON, timeout=30)
    last = json.loads(response.text.splitlines()[-1])
    assert last.get("status", response.status_code) == 429
    assert last["errors"]


def test_each_key_has_its_own_limit(triton: TritonServer) -> None:
    settings = settings_for(triton, rate_limit="1/hour", api_keys=tuple(map(SecretStr, KEYS)))
    with running_frontend(settings) as url:
        statuses = [
            httpx.post(f"{url}/files", files=[PHOTO], headers=bearer(key), timeout=30).status_code
            for key in (*KEYS, *KEYS, "wrong")
        ]
    assert statuses == [200, 200, 429, 429, 401]


@pytest.mark.parametrize(
    ("trusted", "addresses", "statuses"),
    [
        ("", ["192.0.2.1", "192.0.2.2"], [200, 429]),  # nobody is trusted
        ("127.0.0.0/8", ["192.0.2.1", "192.0.2.2", "192.0.2.1"], [200, 200, 429]),
        # The proxy appends the real address to what the client wrote.
        ("127.0.0.1/32", ["192.0.2.8, 192.0.2.1", "192.0.2.9, 192.0.2.1"], [200, 429]),
        ("192.0.2.0/24", ["192.0.2.1", "192.0.2.2"], [200, 429]),
    ],
)
def test_a_client_cannot_choose_its_address(
    triton: TritonServer, trusted: str, addresses: list[str], statuses: list[int]
) -> None:
    proxies = (ip_network(trusted),) if trusted else ()
    with running_frontend(settings_for(triton, rate_limit="1/hour", trusted_proxies=proxies)) as url:
        answered = [
            httpx.post(f"{url}/files", files=[PHOTO], headers={"X-Forwarded-For": address}, timeout=30).status_code
            for address in addresses
        ]
    assert answered == statuses
