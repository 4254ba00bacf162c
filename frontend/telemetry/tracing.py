"""OpenTelemetry traces. OpenTelemetry's own environment variables turn them on; without them its SDK is not loaded.

Follows W3C trace context: a request can belong to its sender's trace, and Triton's spans join the same trace. An
untrusted caller's request starts a new trace with a link to the caller's trace, because a trace decides whether it is
sampled. Image servers get no trace headers.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from frontend import VERSION

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Link, Span, SpanKind

Attributes = dict[str, str | int | float | bool]

_SERVICE_NAME = "birds-frontend"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_CLOSE_SECONDS = 3.0  # at the end, for a collector that does not answer


class TracingError(Exception):
    """The environment asks for traces that are not supported; the text names the variable."""


def exporter_name(environment: Mapping[str, str]) -> str | None:
    """Return the exporter that the OTEL_* variables name: otlp, console, or None for no traces. Raises TracingError."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    name = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if not name:
        name = "otlp" if any(environment.get(variable) for variable in _ENDPOINTS) else "none"
    if name not in ("otlp", "console", "none"):
        raise TracingError(f"OTEL_TRACES_EXPORTER: {name!r} must be otlp, console or none")
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if name == "otlp" and protocol and protocol != "http/protobuf":
        raise TracingError(f"OTEL_EXPORTER_OTLP_PROTOCOL: {protocol!r} is not supported; use http/protobuf")
    return None if name == "none" else name


class Tracing:
    """Creates and exports spans. `close` waits a moment until the last ones are exported."""

    def __init__(self, exporter: SpanExporter) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = {"service.version": VERSION}
        if not os.environ.get("OTEL_SERVICE_NAME") and "service.name=" not in os.environ.get(
            "OTEL_RESOURCE_ATTRIBUTES", ""
        ):
            resource["service.name"] = _SERVICE_NAME
        self._provider = TracerProvider(resource=Resource.create(resource), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("birds", VERSION)
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    def from_environment(cls) -> Tracing | None:
        """Return None if the environment asks for no traces. Raises TracingError."""
        name = exporter_name(os.environ)
        if name is None:
            return None
        if name == "console":
            from opentelemetry.sdk.trace.export import ConsoleSpanExporter

            return cls(ConsoleSpanExporter())
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return cls(OTLPSpanExporter())

    def close(self) -> None:
        # The SDK itself waits 30 s or more for a collector that does not answer.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)

    @contextmanager
    def request_span(self, name: str, headers: Mapping[str, str], is_trusted: bool) -> Iterator[SpanNotes]:
        """Open the span of a request with these headers.

        It belongs to the trace in the headers if the caller is trusted. Otherwise it starts a new, linked trace.
        """
        from opentelemetry.context import Context
        from opentelemetry.trace import Link, SpanKind, get_current_span

        context = self._propagator.extract(headers, Context())
        callers = get_current_span(context).get_span_context()
        links = []
        if callers.is_valid and not is_trusted:
            context, links = Context(), [Link(callers)]
        with self._span(name, SpanKind.SERVER, context, links) as span:
            yield span

    @contextmanager
    def client_span(self, name: str) -> Iterator[SpanNotes]:
        """Open the span of a call to another server, as a child of the current span."""
        from opentelemetry.trace import SpanKind

        with self._span(name, SpanKind.CLIENT) as span:
            yield span

    @contextmanager
    def _span(
        self, name: str, kind: SpanKind, context: Context | None = None, links: Sequence[Link] = ()
    ) -> Iterator[SpanNotes]:
        # The text of an exception may hold a URL's secrets, so a failure is recorded by its code only.
        with self._tracer.start_as_current_span(
            name, context, kind, links=links, record_exception=False, set_status_on_exception=False
        ) as span:
            yield SpanNotes(span)

    def headers(self) -> dict[str, str]:
        """Return the headers that name the current span; none if it is not sampled: Triton ignores that flag."""
        from opentelemetry.trace import get_current_span

        carrier: dict[str, str] = {}
        if get_current_span().get_span_context().trace_flags.sampled:
            self._propagator.inject(carrier)
        return carrier


class SpanNotes:
    """Writes to one span."""

    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def trace_id(self) -> str:
        return format(self._span.get_span_context().trace_id, "032x")

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def set(self, attributes: Mapping[str, Any]) -> None:
        self._span.set_attributes({key: value for key, value in attributes.items() if value is not None})

    def fail(self, code: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attribute("error.type", code)
        self._span.set_status(Status(StatusCode.ERROR, code))
