"""ASGI middleware around everything: names each request, measures it, and writes its line in the log."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from frontend.middleware.api_keys import ApiKeys
from frontend.telemetry import request_stats
from frontend.telemetry.logging import REQUEST
from frontend.telemetry.request_id import HEADER, request_id
from frontend.telemetry.request_stats import RequestStats
from frontend.telemetry.tracing import SpanNotes

log = logging.getLogger(__name__)

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_STATIC = "/static"
# Asked for again and again by machines, or by the page: their lines are for whoever looks for them.
_QUIET = {"/health/live", "/health/ready", "/metrics", _STATIC}
_MAX_PATH = 200


class AccessLog:
    """Finds the application's `metrics` and `tracing` in its state. Whoever bears one of the `keys` is trusted to
    choose the trace that a request belongs to."""

    def __init__(self, app: ASGIApp, keys: ApiKeys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state, headers = scope["app"].state, Headers(scope=scope)
        observed = RequestStats(request_id(headers.get(HEADER)), state.metrics, state.tracing)
        exchange = _Exchange(scope, observed)

        async def observed_send(message: Message) -> None:
            exchange.sent(message)
            await send(message)

        request_stats.begin(observed)
        bind_contextvars(request_id=observed.request_id)
        with ExitStack() as stack:
            stack.enter_context(observed.metrics.request_in_flight())
            if observed.tracing and scope["method"] == "POST":
                is_trusted = self._keys.accept(headers.get("authorization", ""))
                span = stack.enter_context(observed.tracing.request_span("POST", headers, is_trusted))
                bind_contextvars(trace_id=span.trace_id)
                stack.callback(exchange.describe, span)
            stack.callback(exchange.end)
            await self._app(scope, receive, observed_send)


class _Exchange:
    """One request and its answer, as far as the wire shows it."""

    def __init__(self, scope: Scope, observed: RequestStats) -> None:
        self._scope = scope
        self._observed = observed
        self._started = time.perf_counter()
        self._status = 500  # what is answered if the application raises before it answers
        self._is_complete = False

    def sent(self, message: Message) -> None:
        """Note a message on its way out; the first one gets the request's id."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            MutableHeaders(scope=message)[HEADER] = self._observed.request_id
        elif message["type"] == "http.response.body":
            self._is_complete = not message.get("more_body", False)

    def end(self) -> None:
        """Count the request and write its line."""
        seconds = time.perf_counter() - self._started
        route, method = self._route, self._scope["method"]
        known = method if method in _METHODS else "other"
        self._observed.metrics.count_request(route, known, self._status, seconds)
        quiet = route in _QUIET and self._status < 400
        log.log(logging.DEBUG if quiet else logging.INFO, REQUEST, extra=self._fields(seconds))

    def describe(self, span: SpanNotes) -> None:
        observed = self._observed
        span.rename(f"{self._scope['method']} {self._route}")
        span.set(
            {
                "http.request.method": self._scope["method"],
                "http.route": self._route,
                "http.response.status_code": self._status,
                "client.address": self._client,
                "birds.request_id": observed.request_id,
                "birds.images.succeeded": observed.outcomes["ok"],
                "birds.images.failed": observed.outcomes.total() - observed.outcomes["ok"],
            }
        )
        if observed.error or self._status >= 500:
            span.fail(observed.error or str(self._status))

    @property
    def _route(self) -> str:
        """The route's pattern; whatever clients make up shares one name."""
        if self._scope["path"].startswith(f"{_STATIC}/"):
            return _STATIC
        return getattr(self._scope.get("route"), "path", None) or "unmatched"

    @property
    def _client(self) -> str | None:
        client = self._scope.get("client")
        return client[0] if client else None

    def _fields(self, seconds: float) -> dict[str, Any]:
        observed = self._observed
        fields: dict[str, Any] = {
            "method": self._scope["method"],
            "path": self._scope["path"][:_MAX_PATH],
            "status": self._status,
            "seconds": round(seconds, 4),
            "images": dict(observed.outcomes),
            "downloaded_bytes": observed.downloaded_bytes,
            "model_version": ",".join(sorted(observed.model_versions)),
            "error": observed.error,
            "client": self._client,
        }
        for stage, times in observed.stages.items():
            fields[f"{stage}_seconds"] = round(times.total, 4)
            fields[f"{stage}_seconds_slowest"] = round(times.slowest, 4)
        if not self._is_complete and self._status < 499:
            fields["cut_short"] = True
        return {name: value for name, value in fields.items() if value not in (None, "", 0, {}) or name == "seconds"}
