"""The format of log lines: JSON for programs, plain and coloured text for a terminal. uvicorn's lines look the same."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import datetime, timezone
from typing import Any, Literal

import structlog
from structlog.contextvars import get_contextvars

from frontend.telemetry.redaction import on_one_line, redact

Format = Literal["auto", "json", "console"]
Level = Literal["debug", "info", "warning", "error"]
REQUEST = "request"  # the event of the access log
_HEADLINE = ("method", "path", "status")
# Attributes that every log record has, and `color_message`, in which uvicorn repeats the message with colours.
_NOT_SHOWN = {*logging.makeLogRecord({}).__dict__, "taskName", "color_message"}


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
    return _JsonLines() if as_json else _ConsoleLines()


class _JsonLines(logging.Formatter):
    """JSON lines. structlog's ProcessorFormatter copies each record twice, which took an eighth of a refusal's time."""

    _encode = json.JSONEncoder(default=str).encode

    def format(self, record: logging.LogRecord) -> str:
        event = _event(record)
        event["logger"] = record.name
        event["timestamp"] = datetime.fromtimestamp(record.created, timezone.utc).isoformat().replace("+00:00", "Z")
        return self._encode(event)


class _ConsoleLines(logging.Formatter):
    """Lines for a terminal."""

    def __init__(self) -> None:
        super().__init__()
        colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._render = structlog.dev.ConsoleRenderer(colors=colours, sort_keys=False, pad_event_to=0)

    def format(self, record: logging.LogRecord) -> str:
        event = _event(record)
        event["timestamp"] = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        if event["event"] == REQUEST:  # method, path and status come first on a line of the access log
            event["event"] = " ".join(str(event.pop(key, "")) for key in _HEADLINE)
        exception = event.pop("exception", None)
        event = {key: on_one_line(value) if isinstance(value, str) else value for key, value in event.items()}
        if exception is not None:  # indent its lines, so that none looks like a log line
            event["exception"] = "\n".join(f"  | {on_one_line(line)}" for line in exception.split("\n"))
        return self._render(None, "", event)


def _event(record: logging.LogRecord) -> dict[str, Any]:
    """Return the message of `record` and everything that was added to it, without secrets."""
    event = {"event": record.getMessage(), **get_contextvars(), "level": record.levelname.lower()}
    event |= {key: value for key, value in record.__dict__.items() if key not in _NOT_SHOWN}
    if record.exc_info and record.exc_info[0] is not None:
        event["exception"] = logging.Formatter().formatException(record.exc_info)
    if record.stack_info:
        event["stack_info"] = record.stack_info
    return {key: redact(value) if isinstance(value, str) else value for key, value in event.items()}
