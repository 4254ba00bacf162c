"""Behind a proxy that keeps connections open, each client gets its own answer, whatever others send."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from frontend.settings import Settings
from tests.support.front_proxies import running_nginx
from tests.support.frontend_server import running_app, running_frontend
from tests.support.name_server import NameServer
from tests.support.proxy import running_proxy
from tests.support.raw_http import address_of, connect, read_response
from tests.support.recorder import Recorder
from tools.serve.ports import free_port

pytestmark = pytest.mark.needs("nginx", "haproxy")

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\nX-Padding: 0123456789\r\n\r\n"
BODIES = {
    "Content-Length": b"Content-Length: %d\r\n\r\n%b" % (len(SMUGGLED), SMUGGLED),
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
}
UPGRADES = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    "websocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n",
}
# A usual configuration: it passes an offer to upgrade on, and all clients share one connection to the frontend.
NGINX_WITH_UPGRADES = """
    map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
    upstream frontend {{ server {frontend}; keepalive 1; }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 0;
        proxy_request_buffering {buffering};
        location / {{
            proxy_pass http://frontend;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
"""
# The default: HTTP/1.0 with Connection: close.
NGINX_WITH_HTTP_1_0 = """
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 0;
        proxy_request_buffering {buffering};
        location / {{ proxy_pass http://{frontend}; }}
    }}
"""


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(params=["nginx", "HAProxy"])
def proxied(request: pytest.FixtureRequest, recorder: Recorder, tmp_path: Path) -> Iterator[str]:
    """The URL of a proxy in front of the recorder."""
    with running_app(recorder) as url:
        host, port = address_of(url)
        if request.param == "nginx":
            listen = free_port()
            servers = NGINX_WITH_UPGRADES.format(frontend=f"{host}:{port}", port=listen, buffering="on")
            with running_nginx(servers, tmp_path, listen):
                yield f"http://127.0.0.1:{listen}"
        else:
            with NameServer(host) as names, running_proxy(names, port, tmp_path / "log") as proxy:
                proxy.wait_for_servers(1)
                yield proxy.url


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("upgrade", UPGRADES)
def test_no_client_gets_anothers_answer(proxied: str, recorder: Recorder, upgrade: str, body: str) -> None:
    attack = b"POST /attack HTTP/1.1\r\nHost: x\r\n" + UPGRADES[upgrade] + BODIES[body]
    for number in range(20):
        with connect(proxied) as attacker:
            attacker.sendall(attack)
            answer = read_response(attacker)
            assert (answer.status, answer.body) == (200, b"/attack " + SMUGGLED)
        with connect(proxied) as victim:
            victim.sendall(b"GET /victim-%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
            assert read_response(victim).body == b"/victim-%d " % number
    assert "/smuggled" not in {path for _, path, _ in recorder.requests}


@pytest.mark.parametrize("buffering", ["on", "off"])
@pytest.mark.parametrize("servers", [NGINX_WITH_HTTP_1_0, NGINX_WITH_UPGRADES], ids=["HTTP/1.0", "keep-alive"])
@pytest.mark.parametrize(("key", "status"), [(b"", 401), (b"Authorization: Bearer key\r\n", 413)], ids=["401", "413"])
def test_nginx_passes_on_each_refusal(tmp_path: Path, servers: str, buffering: str, key: bytes, status: int) -> None:
    body = b"x" * 20_000_000
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % len(body) + key
    settings = Settings(triton_url=f"127.0.0.1:{free_port()}", api_keys=(SecretStr("key"),))
    listen = free_port()
    with running_frontend(settings) as url:
        frontend = ":".join(map(str, address_of(url)))
        with running_nginx(servers.format(frontend=frontend, port=listen, buffering=buffering), tmp_path, listen):
            statuses = []
            for _ in range(40):
                with connect(f"http://127.0.0.1:{listen}", 30) as client:
                    client.sendall(head + b"\r\n" + body)
                    statuses.append(read_response(client).status)
    assert statuses == [status] * 40
