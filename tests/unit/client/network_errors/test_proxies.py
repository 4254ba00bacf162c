"""Proxies on the way: which one fails, and which variable names it."""

from __future__ import annotations

import asyncio
import re

import pytest
from aiohttp import web
from birds_client import (
    ClientError,
    OtherService,
    ProxyFailed,
    Refused,
    TlsFailed,
    Unauthorized,
    Unreachable,
)

from tests.support.client_failures import failure_of
from tests.support.image_server import ImageServer
from tests.support.raw_server import raw_server, replying
from tools.serve.ports import free_port

HTML = "<html><body><h1>Something</h1></body></html>"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "NAME:PASSWORD@HOST:PORT"),
        (
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            r"does not connect to birds.example \(403 Forbidden\)",
        ),
    ],
)
async def test_proxy_refuses_https(monkeypatch: pytest.MonkeyPatch, answer: bytes, text: str) -> None:
    async with raw_server(replying(answer)) as (proxy, _):
        monkeypatch.setenv("HTTPS_PROXY", proxy.replace("http://", "http://me:secret@"))
        failure = await failure_of("https://birds.example")
    assert isinstance(failure, ProxyFailed)
    assert re.search(text, str(failure))
    assert "secret" not in str(failure)


async def opening_a_tunnel_to_plain_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()


async def test_tls_problem_in_a_tunnel_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(opening_a_tunnel_to_plain_http) as (proxy, _):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        failure = await failure_of("https://birds.example")
    assert isinstance(failure, TlsFailed)
    assert str(failure).startswith("birds.example:443 does not use TLS")


async def test_proxy_asks_for_a_password_for_http(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(replying(b"HTTP/1.1 407 Password\r\nContent-Length: 0\r\n\r\n")) as (proxy, _):
        monkeypatch.setenv("HTTP_PROXY", proxy)
        failure = await failure_of("http://birds.example")
    assert isinstance(failure, ProxyFailed)
    assert "set HTTP_PROXY or ALL_PROXY to http://NAME:PASSWORD@HOST:PORT" in str(failure)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_proxy_that_does_not_run(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    port = free_port()
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{port}")
    failure = await failure_of(f"{scheme}://birds.example")
    assert isinstance(failure, ProxyFailed)
    assert f"the proxy 127.0.0.1:{port} cannot be reached: check {scheme.upper()}_PROXY" in str(failure)


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "text"),
    [
        (301, {"Location": "https://birds.example/"}, "", OtherService, "redirects to https://birds.example/: if that"),
        (302, {"Location": "/login?next=x"}, "", OtherService, "redirects to http://127.0.0.1:"),
        (400, {}, "The plain HTTP request was sent to HTTPS port", TlsFailed, "try https:// instead"),
        (401, {}, HTML, Unauthorized, "it needs a name and a password, or an API key"),
        (403, {}, HTML, Refused, "does not allow the request"),
        (404, {}, HTML, OtherService, "another program answers at this URL"),
        (404, {}, '{"detail": "Not Found"}', OtherService, "another program answers at this URL"),
        (405, {}, HTML, OtherService, "another program answers at this URL"),
        (413, {}, HTML, Refused, "does not allow requests of this size"),
        (418, {}, HTML, Refused, "no reason"),
        (429, {}, HTML, Unreachable, "too many requests"),
        (500, {}, '{"errors": "text"}', Refused, "no reason"),
        (500, {}, '{"errors": []}', Refused, "no reason"),
        (500, {}, '{"errors": [1]}', Refused, "no reason"),
        (501, {}, HTML, OtherService, "another program answers at this URL"),
        (502, {}, HTML, Unreachable, "gets no answer from it"),
        (503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, HTML, Unreachable, "gets no answer from it"),
        (504, {}, HTML, Unreachable, "gets no answer from it"),
    ],
)
async def test_statuses_of_proxies(
    image_server: ImageServer, status: int, headers: dict[str, str], body: str, kind: type[ClientError], text: str
) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=headers, text=body, content_type="text/html")

    image_server.add("/models", answer)
    failure = await failure_of(image_server.add("/", answer))
    assert type(failure) is kind
    assert text in str(failure)
    assert status in (301, 302) or f"HTTP status {status}" in str(failure)
