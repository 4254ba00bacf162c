"""A request that admission refuses never reaches the application."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest
from anyio import current_time
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from frontend.errors import ServiceError
from frontend.limits.admission import Admission
from frontend.middleware.body_limit import BodyLimitMiddleware
from frontend.middleware.request_context import RequestContextMiddleware
from frontend.middleware.upload_refusal import UploadRefusalMiddleware

CALLER = "net:127.0.0.1"


async def refuse(_: Request, error: ServiceError) -> Response:
    return PlainTextResponse(error.code, error.status)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await Response(await Request(scope, receive).body())(scope, receive, send)


async def answer(admission: Admission, body: bytes, address: str = "127.0.0.1", path: str = "/") -> tuple[int, bytes]:
    """Return status and body of the response to a request with `body`."""
    limited = BodyLimitMiddleware(echo, "/", 1000, admission, refuse)
    return await answer_of(limited, body, address, path)


async def answer_of(limited: ASGIApp, body: bytes, address: str, path: str) -> tuple[int, bytes]:
    app = RequestContextMiddleware(limited, 10, None)
    headers = [(b"content-length", str(len(body)).encode())]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "client": (address, 1), "state": {}}
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def images(count: int) -> bytes:
    return json.dumps({"images": [f"http://x/{n}" for n in range(count)]}).encode()


async def test_caller_with_a_full_backlog_is_refused_unread() -> None:
    admission = Admission(0)
    with ExitStack() as running:
        for _ in range(4):
            running.enter_context(admission.admit(CALLER, 10, current_time() + 60))
        assert (await answer(admission, b"not JSON"))[0] == 503
        assert (await answer(admission, b"not JSON", address="127.0.0.2")) == (200, b"not JSON")
        assert (await answer(admission, b"not JSON", path="/other")) == (200, b"not JSON")


async def test_small_bodies_are_refused_by_their_images() -> None:
    admission = Admission(10)
    with ExitStack() as running:
        for _ in range(6):
            running.enter_context(admission.admit(CALLER, 5, current_time() + 60))
        for count, status in ((1, 200), (5, 503), (0, 200)):  # 6 <= 10 + 3 and 30 > 10 + 3 * 5
            assert (await answer(admission, images(count)))[0] == status
        assert (await answer(admission, images(5), address="127.0.0.2")) == (200, images(5))


@pytest.mark.parametrize(
    "body", [b"", b"[", b"[]", b"{}", b'{"images":1}', b'{"images":[[1]]}', b'{"images":{}}', b"[" * 900]
)
async def test_odd_bodies_are_left_to_the_application(body: bytes) -> None:
    admission = Admission(0)
    with ExitStack() as running:
        running.enter_context(admission.admit(CALLER, 1, current_time() + 60))
        assert await answer(admission, body) == (200, body)


async def test_too_large_body_is_refused_while_full() -> None:
    admission = Admission(0)
    with ExitStack() as running:
        running.enter_context(admission.admit(CALLER, 1, current_time() + 60))
        assert (await answer(admission, bytes(1001)))[0] == 413


@pytest.mark.parametrize(("size_bytes", "status"), [(10, 200), (1_000_000, 503)], ids=["one file", "five files"])
async def test_uploads_are_refused_by_their_size(size_bytes: int, status: int) -> None:
    """A photo has about 200 kB. With more images of its own, a request waits for more images of others."""
    admission, body = Admission(10), bytes(size_bytes)
    limited = UploadRefusalMiddleware(echo, "/files", 100, admission, refuse)
    with ExitStack() as running:
        for _ in range(6):
            running.enter_context(admission.admit(CALLER, 5, current_time() + 60))
        assert (await answer_of(limited, body, "127.0.0.1", "/files"))[0] == status  # 6 <= 10 + 3 and 30 > 10 + 3 * 5
        assert await answer_of(limited, body, "127.0.0.1", "/") == (200, body)
        assert await answer_of(limited, body, "127.0.0.2", "/files") == (200, body)
