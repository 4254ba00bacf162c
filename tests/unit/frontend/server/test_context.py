"""Each request has a context of its own: context variables hold its id, its trace and its statistics."""

from __future__ import annotations

from contextvars import ContextVar

from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from tests.support.frontend_server import running_app
from tests.support.raw_http import connect, read_responses

_path: ContextVar[str] = ContextVar("path", default="nothing")


async def report_context(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        before = _path.get()
        _path.set(scope["path"])
        await PlainTextResponse(before)(scope, receive, send)


def test_a_pipelined_request_inherits_no_context() -> None:
    """uvicorn starts it while it sends the response to the request before."""
    with running_app(report_context) as url, connect(url) as connection:
        connection.sendall(
            b"GET /first HTTP/1.1\r\nHost: x\r\n\r\nGET /second HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        assert [response.body for response in read_responses(connection)] == [b"nothing", b"nothing"]
