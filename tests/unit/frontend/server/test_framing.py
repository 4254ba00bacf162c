"""No byte of a request's body is ever read as a request, and no trailer as a header."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import pytest
from starlette.types import Receive, Scope, Send

from tests.support.frontend_server import running_app
from tests.support.raw_http import RawResponse, connect, read_response, read_responses
from tests.support.recorder import Recorder

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\nX-Padding: 0123456789\r\n\r\n"
CHUNKED_SMUGGLED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
LENGTH = b"Content-Length: %d\r\n" % len(SMUGGLED)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
UPGRADES = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    "websocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n",
    "two names": b"Connection: keep-alive, upgrade\r\nUpgrade: TLS/1.0, h2c\r\n",
    "two headers": b"Connection: upgrade\r\nConnection: keep-alive\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
}
BODIES = {"Content-Length": (LENGTH, SMUGGLED), "chunked": (CHUNKED, CHUNKED_SMUGGLED)}


class Application:
    """Hands each request to the recorder of the current test."""

    recorder = Recorder()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.recorder(scope, receive, send)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Application]]:
    application = Application()
    with running_app(application) as url:
        yield url, application


@pytest.fixture
def recorder(server: tuple[str, Application]) -> Recorder:
    _, application = server
    application.recorder = Recorder()
    return application.recorder


@pytest.fixture
def connection(server: tuple[str, Application], recorder: Recorder) -> Iterator[socket.socket]:
    url, _ = server
    with connect(url) as connection:
        yield connection


def send_in_pieces(connection: socket.socket, data: bytes, pieces: int) -> None:
    """Send `data` in `pieces` segments, cut at random places that are the same in each run."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    cuts = sorted(random.Random(len(data)).sample(range(1, len(data)), pieces - 1))
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        connection.sendall(data[start:end])


def exchange(connection: socket.socket, data: bytes, pieces: int = 1) -> list[RawResponse]:
    send_in_pieces(connection, data, pieces)
    return read_responses(connection)


@pytest.mark.parametrize("pieces", [1, 2, 7, 60])
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("upgrade", UPGRADES)
def test_an_offered_upgrade_keeps_its_body(
    connection: socket.socket, recorder: Recorder, upgrade: str, body: str, pieces: int
) -> None:
    length, content = BODIES[body]
    head = b"POST /first HTTP/1.1\r\nHost: x\r\n" + UPGRADES[upgrade] + length + b"\r\n"
    responses = exchange(connection, head + content + LAST, pieces)
    assert recorder.requests == [("POST", "/first", SMUGGLED), ("GET", "/last", b"")]
    assert [response.status for response in responses] == [200, 200]


@pytest.mark.parametrize("body", BODIES)
def test_a_refused_upgrade_discards_its_body(connection: socket.socket, recorder: Recorder, body: str) -> None:
    length, content = BODIES[body]
    connection.sendall(b"POST /refused HTTP/1.1\r\nHost: x\r\n" + UPGRADES["h2c"] + length + b"\r\n")
    assert read_response(connection).status == 401
    responses = exchange(connection, content + LAST)
    assert recorder.requests == [("POST", "/refused", b""), ("GET", "/last", b"")]
    assert [response.body for response in responses] == [b"/last "]


def test_many_pipelined_upgrades_are_all_answered(connection: socket.socket, recorder: Recorder) -> None:
    one = b"POST /first HTTP/1.1\r\nHost: x\r\n" + UPGRADES["h2c"] + LENGTH + b"\r\n" + SMUGGLED
    responses = exchange(connection, 20 * one + LAST)
    assert [response.status for response in responses] == [200] * 21
    assert set(recorder.requests) == {("POST", "/first", SMUGGLED), ("GET", "/last", b"")}


def random_request(chance: random.Random, number: int) -> tuple[bytes, tuple[str, str, bytes]]:
    """A valid request whose body, extensions and trailers look like requests, and what the application should see."""
    method, path = chance.choice(["GET", "POST", "PUT", "DELETE", "OPTIONS"]), f"/{number}"
    body = chance.choice([b"", b"x", SMUGGLED, SMUGGLED * 40, b"0\r\n\r\n" + SMUGGLED])
    head = b"%b %b HTTP/1.1\r\nHost: x\r\n" % (method.encode(), path.encode())
    head += chance.choice([b"", *UPGRADES.values()])
    if chance.random() < 0.5:
        size = chance.choice([1, 7, 5000]) if len(body) < 100 else 5000
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        chunks = [b"%x%b\r\n%b\r\n" % (len(piece), chance.choice([b"", b";a=b"]), piece) for piece in pieces]
        trailers = chance.choice([b"", b"GET: /smuggled HTTP/1.1\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n"])
        return head + CHUNKED + b"\r\n" + b"".join(chunks) + b"0\r\n" + trailers + b"\r\n", (method, path, body)
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body, (method, path, body)


@pytest.mark.parametrize("seed", range(60))
def test_any_valid_requests_are_read_as_sent(connection: socket.socket, recorder: Recorder, seed: int) -> None:
    chance = random.Random(seed)
    requests = [random_request(chance, number) for number in range(chance.randint(1, 12))]
    data = b"".join(sent for sent, _ in requests) + LAST
    responses = exchange(connection, data, chance.choice([1, 2, 5, 40]))
    assert recorder.requests == [*(seen for _, seen in requests), ("GET", "/last", b"")]
    assert len(responses) == len(requests) + 1


AMBIGUOUS = {
    "both lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, reversed": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "xchunked": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n",
    "identity": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n",
    "chunked is not last": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": b"POST / HTTP/1.1\r\nHost: x\r\n" + 2 * CHUNKED + b"\r\n0\r\n\r\n",
    "vertical tab": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "a list of lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 0\r\n\r\n",
    "signed length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n",
    "space before colon": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 0\r\n\r\n",
    "folded length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n 0\r\n\r\n",
    "folded encoding": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "folded header": b"POST / HTTP/1.1\r\nHost: x\r\nX: a\r\n Content-Length: 0\r\n\r\n",
    "bare LF": b"POST / HTTP/1.1\nHost: x\nContent-Length: 0\n\n",
    "bare LF in a header": b"POST / HTTP/1.1\r\nHost: x\nContent-Length: 0\r\n\r\n",
    "bare CR in a header": b"POST / HTTP/1.1\r\nHost: x\rContent-Length: 0\r\n\r\n",
    "NUL in a header": b"POST / HTTP/1.1\r\nHost: x\r\nX: \0\r\nContent-Length: 0\r\n\r\n",
    "hexadecimal prefix": b"POST / HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"\r\n0x0\r\n\r\n",
    "negative chunk": b"POST / HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"\r\n-1\r\n\r\n",
    "bare LF after a chunk size": b"POST / HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"\r\n0\n\n",
    "bare LF in a chunk extension": b"POST / HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"\r\n0;a\nb\r\n\r\n",
    "chunk without its end": b"POST / HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"\r\n1\r\na0\r\n\r\n",
    "CONNECT": b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("pieces", [1, 9])
@pytest.mark.parametrize("upgrade", [b"", UPGRADES["h2c"]], ids=["plain", "with an upgrade"])
@pytest.mark.parametrize("case", AMBIGUOUS)
def test_an_ambiguous_request_ends_the_connection(
    connection: socket.socket, recorder: Recorder, case: str, upgrade: bytes, pieces: int
) -> None:
    request = AMBIGUOUS[case].replace(b"Host: x\r\n", b"Host: x\r\n" + upgrade, 1)
    responses = exchange(connection, request + SMUGGLED, pieces)
    assert [response.status for response in responses] == [400]
    assert not [path for _, path, _ in recorder.requests if path == "/smuggled"]


FINAL_REQUESTS = {
    "Connection: close": b"POST /first HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + LENGTH + b"\r\n" + SMUGGLED,
    "close and upgrade": b"POST /first HTTP/1.1\r\nHost: x\r\nConnection: close, upgrade\r\nUpgrade: h2c\r\n"
    + LENGTH
    + b"\r\n"
    + SMUGGLED,
    "HTTP/1.0": b"POST /first HTTP/1.0\r\nHost: x\r\n" + LENGTH + b"\r\n" + SMUGGLED,
    "HTTP/1.0 keep-alive": b"POST /first HTTP/1.0\r\nConnection: keep-alive\r\n" + LENGTH + b"\r\n" + SMUGGLED,
    "HTTP/1.0 chunked": b"POST /first HTTP/1.0\r\n" + CHUNKED + b"\r\n" + CHUNKED_SMUGGLED,
    "Connection: close in a trailer": b"POST /first HTTP/1.1\r\nHost: x\r\n"
    + CHUNKED
    + b"\r\n"
    + CHUNKED_SMUGGLED.removesuffix(b"\r\n")
    + b"Connection: close\r\n\r\n",
    "Expect: 100-continue": b"POST /first HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
    + LENGTH
    + b"\r\n"
    + SMUGGLED,
}


@pytest.mark.parametrize("pieces", [1, 9])
@pytest.mark.parametrize("case", FINAL_REQUESTS)
def test_nothing_follows_a_connections_last_request(
    connection: socket.socket, recorder: Recorder, case: str, pieces: int
) -> None:
    responses = exchange(connection, FINAL_REQUESTS[case] + SMUGGLED, pieces)
    assert [response.headers[b"connection"] for response in responses] == [b"close"]
    assert recorder.requests == [("POST", "/first", SMUGGLED)]


@pytest.mark.parametrize("content", [SMUGGLED, SMUGGLED + SMUGGLED], ids=["body left out", "body sent"])
def test_a_refused_expectation_ends_the_connection(
    connection: socket.socket, recorder: Recorder, content: bytes
) -> None:
    """The client may leave its body out after a refusal, so the server cannot know where the next request begins."""
    connection.sendall(b"POST /refused HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n" + LENGTH + b"\r\n")
    response = read_response(connection)
    assert (response.status, response.headers[b"connection"]) == (401, b"close")
    assert exchange(connection, content) == []
    assert recorder.requests == [("POST", "/refused", b"")]


def test_a_late_trailer_can_end_a_kept_connection(connection: socket.socket, recorder: Recorder) -> None:
    connection.sendall(b"POST /refused HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"\r\n")
    assert read_response(connection).status == 401
    assert exchange(connection, b"0\r\nConnection: close\r\n\r\n" + SMUGGLED) == []
    assert recorder.requests == [("POST", "/refused", b"")]


def test_trailers_are_not_headers(connection: socket.socket, recorder: Recorder) -> None:
    trailers = b"X-Forwarded-For: 203.0.113.7\r\nAuthorization: Bearer key\r\n"
    head = b"POST /first HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"\r\n"
    exchange(connection, head + b"1\r\na\r\n0\r\n" + trailers + b"\r\n" + LAST)
    assert [path for _, path, _ in recorder.requests] == ["/first", "/last"]
    assert recorder.headers[0] == {"host": "x", "transfer-encoding": "chunked"}


def test_a_bad_body_does_not_replace_an_earlier_response(connection: socket.socket, recorder: Recorder) -> None:
    first = b"POST /first HTTP/1.1\r\nHost: x\r\n" + LENGTH + b"\r\n" + SMUGGLED
    responses = exchange(connection, first + b"POST /bad HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"\r\nnot a size\r\n")
    assert [response.status for response in responses] in ([], [200])


def test_garbage_does_not_replace_an_earlier_response(connection: socket.socket, recorder: Recorder) -> None:
    """The first request is complete, and its response has not begun when the parser fails."""
    first = b"POST /first HTTP/1.1\r\nHost: x\r\n" + LENGTH + b"\r\n" + SMUGGLED
    assert [response.status for response in exchange(connection, first + b"not a request\r\n\r\n")] in ([], [200])


def test_a_bad_rest_of_a_refused_body_gets_no_second_response(connection: socket.socket) -> None:
    connection.sendall(b"POST /refused HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"\r\n")
    assert read_response(connection).status == 401
    assert exchange(connection, b"not a size\r\n") == []


def test_garbage_after_a_response_is_answered_with_400(connection: socket.socket) -> None:
    connection.sendall(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n")
    assert read_response(connection).status == 200
    assert [response.status for response in exchange(connection, b"not a request\r\n\r\n")] == [400]
