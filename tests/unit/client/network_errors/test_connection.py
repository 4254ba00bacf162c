"""Hosts that are not there, and servers that are not this service."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Iterator

import httpx
import pytest
from aiohttp import web
from birds_client import (
    AsyncBirdsClient,
    ClientError,
    ConfigurationError,
    ConnectionRefused,
    OtherService,
    Unreachable,
)
from birds_client.network_errors import Progress, explain

from tests.support.client_failures import failure_of, is_for_people
from tests.support.image_server import ImageServer
from tests.support.raw_server import closing, raw_server, replying
from tools.serve.ports import free_port

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HTML = "<html><body><h1>Something</h1></body></html>"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"


@pytest.mark.parametrize(
    ("handler", "kind", "text"),
    [
        (closing, Unreachable, "closed the connection without an answer; if it uses TLS, try https://"),
        (replying(b"\x15\x03\x03\x00\x02\x02\x32"), OtherService, "try https://"),
        (replying(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"), OtherService, "does not answer in HTTP/1.1"),
        (replying(ANSWER + b'{"url"'), Unreachable, "the answer broke off"),
        (
            replying(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone"),
            Unreachable,
            "the answer broke off",
        ),
    ],
    ids=["closes", "TLS alert", "HTTP/2", "short answer", "damaged gzip"],
)
async def test_other_protocols_and_broken_answers(handler: Handler, kind: type[ClientError], text: str) -> None:
    async with raw_server(handler) as (url, _):
        failure = await failure_of(url)
    assert type(failure) is kind
    assert text in str(failure)


async def test_nothing_listens() -> None:
    port = free_port()
    failure = await failure_of(f"http://127.0.0.1:{port}")
    assert isinstance(failure, ConnectionRefused)
    assert str(failure) == f"nothing listens at 127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (socket.EAI_NONAME, "there is no host named birds.example: check the URL"),
        (socket.EAI_AGAIN, "the host name birds.example cannot be looked up now: check the network connection"),
    ],
)
async def test_unknown_host(monkeypatch: pytest.MonkeyPatch, code: int, text: str) -> None:
    def look_up(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert str(await failure_of("http://birds.example")) == text


@pytest.mark.parametrize("url", ["http://a..b", f"http://{'a' * 64}.example", "http://[::1"])
def test_impossible_host_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a URL such as"):
        AsyncBirdsClient(url)


@pytest.mark.parametrize("language", ["dé", "de\nX: y"])
def test_impossible_language_is_a_wrong_setting(language: str) -> None:
    with pytest.raises(ConfigurationError, match="language"):
        AsyncBirdsClient(language=language)


@pytest.mark.parametrize(
    "body",
    [
        *(HTML, "5", "[]", "{}", '"text"', '{"detail": "x"}', '{"url": 1}', '{"url": ["http://x/a.jpg"]}'),
        '{"url": "http://x/a.jpg", "predictions": "x"}',
        '{"url": "http://x/a.jpg", "predictions": [{"bird_name": "x"}]}',
        '{"url": "http://x/a.jpg", "failure": "x"}',
    ],
)
async def test_answers_of_other_services(image_server: ImageServer, body: str) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=body)

    image_server.add("/models", answer)
    failure = await failure_of(image_server.add("/", answer))
    assert isinstance(failure, OtherService)


def errors_of_httpx(kind: type[httpx.RequestError] = httpx.RequestError) -> Iterator[type[httpx.RequestError]]:
    for sub_class in kind.__subclasses__():
        yield sub_class
        yield from errors_of_httpx(sub_class)


@pytest.mark.parametrize("kind", list(errors_of_httpx()), ids=lambda kind: kind.__name__)
def test_every_error_of_httpx_is_a_sentence(kind: type[httpx.RequestError]) -> None:
    """httpx's own text is often empty."""
    progress = Progress(httpx.URL("https://birds.example"))
    for progress.step in ("", "connect_tcp", "start_tls", "send_request_body", "receive_response_body"):
        is_for_people(str(explain(kind(""), progress)))


def test_no_route_is_said() -> None:
    error = httpx.ConnectError("All connection attempts failed")
    error.__cause__ = OSError(errno.ENETUNREACH, "Network is unreachable")
    progress = Progress(httpx.URL("http://[2001:db8::1]:8000"))
    assert str(explain(error, progress)).startswith("there is no route to [2001:db8::1]:8000")
