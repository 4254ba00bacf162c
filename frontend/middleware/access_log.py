"""ASGI middleware around everything else: gives each request an id, measures it, and writes its access log line."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from frontend.middleware.auth import ApiKeys
from frontend.telemetry import request_stats
from frontend.telemetry.logging import REQUEST
from frontend.telemetry.metrics import Metrics
from frontend.telemetry.request_id import HEADER, request_id
from frontend.telemetry.request_stats import RequestStats
from frontend.telemetry.tracing import SpanNotes, Tracing

log = logging.getLogger(__name__)

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_STATIC_FOLDER = "/static"
# Probes, Prometheus and the page request these again and again. Their lines have the level debug.
_QUIET_ROUTES = {"/health/live", "/health/ready", "/metrics", _STATIC_FOLDER}
_MAX_PATH_CHARACTERS = 200


class AccessLogMiddleware:
    """Logs, counts and traces every request.

    A caller with one of the `keys` is trusted to name the trace that its request belongs to. A request for one of
    `api_paths`, the paths of the API, has its path as its route, because other middleware may respond before the
    router has found the route.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, tracing: Tracing | None, keys: ApiKeys, api_paths: frozenset[str]
    ) -> None:
        self._app = app
        self._api_paths = api_paths
        self._metrics = metrics
        self._tracing = tracing
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        stats = RequestStats(request_id(headers.get(HEADER)), self._metrics, self._tracing)
        exchange = _Exchange(scope, stats, self._api_paths)

        async def send_and_note(message: Message) -> None:
            exchange.note_sent(message)
            await send(message)

        request_stats.begin(stats)
        bind_contextvars(request_id=stats.request_id)
        tracing = self._tracing if scope["method"] == "POST" else None
        span = self._span(tracing, headers, exchange) if tracing else nullcontext()
        with self._metrics.request_in_flight(), span:
            try:
                await self._app(scope, receive, send_and_note)
            finally:
                exchange.finish()

    @contextmanager
    def _span(self, tracing: Tracing, headers: Headers, exchange: _Exchange) -> Iterator[None]:
        is_trusted = self._keys.accept(headers.get("authorization", ""))
        with tracing.request_span("POST", headers, is_trusted) as span:
            bind_contextvars(trace_id=span.trace_id)
            try:
                yield
            finally:
                exchange.describe(span)


class _Exchange:
    """One request and its response, as seen on the wire."""

    def __init__(self, scope: Scope, stats: RequestStats, api_paths: frozenset[str]) -> None:
        self._scope = scope
        self._api_paths = api_paths
        self._stats = stats
        self._started = time.perf_counter()
        self._status = 500  # the status if the application raises before it sends a response
        self._is_complete = False

    def note_sent(self, message: Message) -> None:
        """Note a message of the response, and add the request id to its headers."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            MutableHeaders(scope=message)[HEADER] = self._stats.request_id
        elif message["type"] == "http.response.body":
            self._is_complete = not message.get("more_body", False)

    def finish(self) -> None:
        """Count the request and write its line in the log."""
        seconds = time.perf_counter() - self._started
        route, method = self._route, self._scope["method"]
        known_method = method if method in _METHODS else "other"
        self._stats.metrics.count_request(route, known_method, self._status, seconds)
        is_quiet = route in _QUIET_ROUTES and self._status < 400
        log.log(logging.DEBUG if is_quiet else logging.INFO, REQUEST, extra=self._fields(seconds))

    def describe(self, span: SpanNotes) -> None:
        """Write the outcome of the request to its span."""
        stats = self._stats
        span.rename(f"{self._scope['method']} {self._route}")
        span.set(
            {
                "http.request.method": self._scope["method"],
                "http.route": self._route,
                "http.response.status_code": self._status,
                "client.address": self._client,
                "birds.request_id": stats.request_id,
                "birds.images.succeeded": stats.outcomes["ok"],
                "birds.images.failed": stats.outcomes.total() - stats.outcomes["ok"],
            }
        )
        if stats.error or self._status >= 500:
            span.fail(stats.error or str(self._status))

    @property
    def _route(self) -> str:
        """The route's pattern. All paths that match no route share one name, so clients cannot create new labels."""
        path: str = self._scope["path"]
        if path in self._api_paths:
            return path
        if path.startswith(f"{_STATIC_FOLDER}/"):
            return _STATIC_FOLDER
        return getattr(self._scope.get("route"), "path", None) or "unmatched"

    @property
    def _client(self) -> str | None:
        client = self._scope.get("client")
        return client[0] if client else None

    def _fields(self, seconds: float) -> dict[str, Any]:
        stats = self._stats
        fields: dict[str, Any] = {
            "method": self._scope["method"],
            "path": self._scope["path"][:_MAX_PATH_CHARACTERS],
            "status": self._status,
            "seconds": round(seconds, 4),
            "images": dict(stats.outcomes),
            "downloaded_bytes": stats.downloaded_bytes,
            "model_version": ",".join(sorted(stats.model_versions)),
            "error": stats.error,
            "client": self._client,
        }
        for stage, times in stats.stages.items():
            fields[f"{stage}_seconds"] = round(times.total, 4)
            fields[f"{stage}_seconds_slowest"] = round(times.slowest, 4)
        if not self._is_complete and self._status < 499:
            fields["cut_short"] = True
        return {name: value for name, value in fields.items() if value not in (None, "", 0, {}) or name == "seconds"}
