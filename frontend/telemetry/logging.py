"""How log lines look: JSON for programs, plain and coloured for a person at a terminal, uvicorn's like our own."""

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
REQUEST = "request"  # the event of the one line that every request gets
_HEADLINE = ("method", "path", "status")

_Event = MutableMapping[str, Any]


def log_config(form: Format, level: Level) -> dict[str, Any]:
    """A configuration for logging.config.dictConfig; `auto` is the form that suits what stdout is."""
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
    """The formatter of every line. No text in it can hold a URL's secrets or break the line."""
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
    event.pop("color_message", None)  # uvicorn's second wording
    return {key: redact(value) if isinstance(value, str) else value for key, value in event.items()}


def _headline(_logger: Any, _method: str, event: _Event) -> _Event:
    """A request's line starts with what a person looks for."""
    if event.get("event") == REQUEST:
        event["event"] = " ".join(str(event.pop(key, "")) for key in _HEADLINE)
    return event


def _unforgeable(_logger: Any, _method: str, event: _Event) -> _Event:
    exception = event.pop("exception", None)
    event = {key: on_one_line(value) if isinstance(value, str) else value for key, value in event.items()}
    if exception is not None:  # its lines are indented: none can pass for one of ours
        event["exception"] = "\n".join(f"  | {on_one_line(line)}" for line in exception.split("\n"))
    return event
