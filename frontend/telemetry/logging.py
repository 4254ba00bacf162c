"""The format of log lines: JSON for programs, plain and coloured text for a terminal. uvicorn's lines look the same."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

from frontend.telemetry.redaction import on_one_line, redact

Format = Literal["auto", "json", "console"]
Level = Literal["debug", "info", "warning", "error"]
REQUEST = "request"  # the event of the access log
_HEADLINE = ("method", "path", "status")

_Event = MutableMapping[str, Any]


def log_config(form: Format, level: Level) -> dict[str, Any]:
    """Return a configuration for dictConfig. `auto` means `console` if stdout is a terminal, otherwise `json`."""
    as_json = form == "json" or (form == "auto" and not sys.stdout.isatty())
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": f"{__name__}.formatter", "as_json": as_json}},
        "handlers": {"stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "lines"}},
        "root": {"level": "WARNING", "handlers": ["stdout"]},
        "loggers": {name: {"level": level.upper()} for name in ("frontend", "uvicorn")},
    }


def formatter(as_json: bool) -> logging.Formatter:
    """Return the formatter of all lines. It removes secrets in URLs, and no text can start a line of its own."""
    ours = structlog.stdlib.ProcessorFormatter
    before: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
    ]
    finish: list[structlog.types.Processor]
    if as_json:
        before += [structlog.stdlib.add_logger_name, structlog.processors.TimeStamper(fmt="iso")]
        finish = [structlog.processors.format_exc_info, _redacted, structlog.processors.JSONRenderer(default=str)]
    else:
        before += [structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)]
        colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        renderer = structlog.dev.ConsoleRenderer(colors=colours, sort_keys=False, pad_event_to=0)
        finish = [structlog.processors.format_exc_info, _redacted, _headline, _unforgeable, renderer]
    return ours(foreign_pre_chain=before, processors=[ours.remove_processors_meta, *finish])


def _redacted(_logger: Any, _method: str, event: _Event) -> _Event:
    event.pop("color_message", None)  # uvicorn adds the message a second time, coloured
    return {key: redact(value) if isinstance(value, str) else value for key, value in event.items()}


def _headline(_logger: Any, _method: str, event: _Event) -> _Event:
    """Put method, path and status first on a line of the access log."""
    if event.get("event") == REQUEST:
        event["event"] = " ".join(str(event.pop(key, "")) for key in _HEADLINE)
    return event


def _unforgeable(_logger: Any, _method: str, event: _Event) -> _Event:
    exception = event.pop("exception", None)
    event = {key: on_one_line(value) if isinstance(value, str) else value for key, value in event.items()}
    if exception is not None:  # indent its lines, so that none looks like a log line
        event["exception"] = "\n".join(f"  | {on_one_line(line)}" for line in exception.split("\n"))
    return event
