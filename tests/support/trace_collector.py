"""An OTLP/HTTP collector on a thread of its own: protobuf, as the frontend sends it, and JSON, as Triton does."""

from __future__ import annotations

import gzip
import json
import threading
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.processes import eventually


@dataclass(frozen=True)
class Span:
    """A span as it was exported."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    failed: bool
    linked_traces: tuple[str, ...] = ()


class TraceCollector:
    """Collects spans at `url`, OTEL_EXPORTER_OTLP_ENDPOINT's form; use as a context manager."""

    def __enter__(self) -> TraceCollector:
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                is_json = self.headers["Content-Type"].startswith("application/json")
                collector.spans += _from_json(body) if is_json else _from_protobuf(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def trace(self, trace_id: str, names: list[str]) -> list[Span]:
        """The spans of one trace, once spans with at least these names have arrived."""
        assert self.has(trace_id, names, 60), self._spans_of(trace_id)
        return self._spans_of(trace_id)

    def has(self, trace_id: str, names: list[str], seconds: float) -> bool:
        """Whether spans with at least these names arrive within the given time."""
        return eventually(lambda: Counter(names) <= Counter(span.name for span in self._spans_of(trace_id)), seconds)

    def _spans_of(self, trace_id: str) -> list[Span]:
        return [span for span in list(self.spans) if span.trace_id == trace_id]


def _from_protobuf(body: bytes) -> list[Span]:
    return [
        Span(
            service=_values(resource.resource.attributes).get("service.name", ""),
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            attributes=_values(span.attributes),
            failed=span.status.code == 2,
            linked_traces=tuple(link.trace_id.hex() for link in span.links),
        )
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _values(attributes: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in attributes}


def _from_json(body: bytes) -> list[Span]:
    return [
        Span(
            service=_json_values(resource["resource"]["attributes"]).get("service.name", ""),
            name=span["name"],
            trace_id=span["traceId"],
            span_id=span["spanId"],
            parent_id=span.get("parentSpanId", ""),
            attributes=_json_values(span.get("attributes", [])),
            failed=span.get("status", {}).get("code") == 2,
        )
        for resource in json.loads(body)["resourceSpans"]
        for scope in resource.get("scopeSpans", resource.get("instrumentationLibrarySpans", []))
        for span in scope["spans"]
    ]


def _json_values(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {item["key"]: next(iter(item["value"].values()), None) for item in attributes}
