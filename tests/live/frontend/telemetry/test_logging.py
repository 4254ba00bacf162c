"""The log has one line for each request, as JSON or for a terminal. It holds no secrets and no forged lines."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from structlog.contextvars import bound_contextvars

from frontend.telemetry.logging import formatter, log_config
from frontend.telemetry.redaction import redact
from tests.support.image_server import ImageServer
from tests.support.images import flat
from tests.support.processes import eventually

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("from https://example.org/a.jpg?token=s3cr3t", "from https://example.org/a.jpg?[redacted]"),
        ("http://user:s3cr3t@example.org/a.jpg", "http://[redacted]@example.org/a.jpg"),
        ("HTTPS://u:s3cr3t@[::1]:8/?s3cr3t=1 failed", "HTTPS://[redacted]@[::1]:8/?[redacted] failed"),
        ("http://example.org/#s3cr3t", "http://example.org/#[redacted]"),
        ("'https://example.org/?a='s3cr3t'", "'https://example.org/?[redacted]"),
        ("s3://key:s3cr3t@bucket/x", "s3://[redacted]@bucket/x"),
        ("GET /a.jpg?signature=s3cr3t HTTP/1.1", "GET /a.jpg?signature=[redacted] HTTP/1.1"),
        ("https://a/?x=s3cr3t https://b/?y=s3cr3t", "https://a/?[redacted] https://b/?[redacted]"),
        ("is this fine? yes, at 12:30", "is this fine? yes, at 12:30"),
    ],
)
def test_urls_are_logged_without_secrets(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize("piece", ["a", "a:", "a://", "://", "?", "?a=", "@", "http://@"])
def test_redaction_time_grows_linearly(piece: str) -> None:
    """Four times the text takes about four times as long; a quadratic pattern would take sixteen times."""

    def cpu_seconds(length: int) -> float:
        """The least of several: a garbage collection may fall into one of them."""
        text, taken = piece * (length // len(piece)), []
        for _ in range(5):
            started = time.process_time()
            redact(text)
            taken.append(time.process_time() - started)
        return min(taken)

    assert cpu_seconds(800_000) < 10 * max(cpu_seconds(200_000), 0.002)


class Lines:
    """A logger with our formatter, and what it wrote."""

    def __init__(self, as_json: bool) -> None:
        self._stream = io.StringIO()
        handler = logging.StreamHandler(self._stream)
        handler.setFormatter(formatter(as_json))
        self.log = logging.Logger("birds.test")
        self.log.addHandler(handler)

    @property
    def text(self) -> str:
        return self._stream.getvalue()


@pytest.fixture(params=[True, False], ids=["json", "console"])
def lines(request: pytest.FixtureRequest) -> Lines:
    return Lines(request.param)


@pytest.mark.parametrize(
    "hostile",
    [
        "a\n12:00:00 [error    ] forged",
        'a\r\n{"event": "forged"}',
        "a\x1b[2J\x1b[1;1Hforged",
        "a\u2028forged",
        "a\x85forged",
        "a\u202edegrof",
    ],
    ids=["line feed", "JSON", "terminal control", "line separator", "next line", "right to left"],
)
def test_hostile_text_cannot_forge_a_line(lines: Lines, hostile: str) -> None:
    with bound_contextvars(request_id="r1"):
        lines.log.warning("%s", hostile)
        lines.log.warning("request", extra={"path": hostile, "status": 200})
        try:
            raise ValueError(hostile)  # noqa: TRY301
        except ValueError:
            lines.log.exception("it failed")
    starts = [line for line in lines.text.splitlines() if not line.startswith("  | ")]
    assert len([start for start in starts if start]) == 3
    for control in ("\x1b", "\r", "\u2028", "\x85", "\u202e"):
        assert control not in lines.text


def test_traceback_is_logged_without_queries(lines: Lines) -> None:
    try:
        raise ValueError(f"https://user:{SECRET}@example.org/?token={SECRET}")  # noqa: TRY301
    except ValueError:
        lines.log.exception("it failed")
    assert "Traceback" in lines.text
    assert "https://[redacted]@example.org/?[redacted]" in lines.text
    assert f"?token={SECRET}" not in lines.text.replace("raise ValueError(f", "")


def test_json_line_has_level_logger_and_time() -> None:
    lines = Lines(as_json=True)
    with bound_contextvars(request_id="r1"):
        lines.log.info("request", extra={"images": {"ok": 2}, "color_message": "no"})
    parts = json.loads(lines.text)
    assert parts.pop("timestamp").endswith("Z")
    assert parts == {
        "event": "request",
        "level": "info",
        "logger": "birds.test",
        "request_id": "r1",
        "images": {"ok": 2},
    }


def test_terminal_line_starts_with_method_path_and_status() -> None:
    lines = Lines(as_json=False)
    lines.log.info("request", extra={"method": "POST", "path": "/", "status": 200, "seconds": 0.1})
    assert "POST / 200" in lines.text
    assert "seconds=0.1" in lines.text


@pytest.mark.parametrize(
    ("form", "terminal", "is_json"),
    [("auto", True, False), ("auto", False, True), ("json", True, True), ("console", False, False)],
)
def test_auto_format_depends_on_the_terminal(
    form: Any, terminal: bool, is_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    assert log_config(form, "info")["formatters"]["lines"]["as_json"] is is_json


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture) -> Iterator[Lines]:
    """Everything that the running frontend logs, at level debug, as JSON."""
    lines = Lines(as_json=True)
    root, ours = logging.getLogger(), logging.getLogger("frontend")
    [handler] = lines.log.handlers
    level = ours.level
    root.addHandler(handler)
    ours.setLevel(logging.DEBUG)
    yield lines
    ours.setLevel(level)
    root.removeHandler(handler)


def requests(lines: Lines, count: int = 1) -> list[dict[str, Any]]:
    """Return the lines of at least `count` requests. They are written after the answer is sent, so wait for them."""

    def found() -> list[dict[str, Any]]:
        return [line for line in map(json.loads, lines.text.splitlines()) if line["event"] == "request"]

    assert eventually(lambda: len(found()) >= count)
    return found()


def test_each_request_logs_one_line_with_its_outcome(
    written: Lines, frontend: httpx.Client, image_server: ImageServer
) -> None:
    image = flat((12, 34, 56))  # no other test's: an answer from the cache takes no time that the line could show
    good, missing = image_server.add("/red.png", image), image_server.url("/missing.png")
    answer = frontend.post("/", json={"images": [good, missing]}, headers={"X-Request-ID": "my-id"})
    assert answer.headers["X-Request-ID"] == "my-id"
    [line] = requests(written)
    assert line["request_id"] == "my-id"
    assert (line["method"], line["path"], line["status"], line["client"]) == ("POST", "/", 200, "127.0.0.1")
    assert line["images"] == {"ok": 1, "download_failed": 1}
    assert line["model_version"] == "1"
    assert line["downloaded_bytes"] == len(image)
    assert 0 < line["inference_seconds_slowest"] <= line["seconds"]
    assert 0 < line["download_seconds_slowest"] <= line["download_seconds"]
    assert "cut_short" not in line


@pytest.mark.parametrize("path", ["/health/live", "/metrics", "/static/page.js"])
def test_health_checks_and_scrapes_are_logged_at_debug(written: Lines, frontend: httpx.Client, path: str) -> None:
    assert frontend.get(path).status_code == 200
    assert [line["level"] for line in requests(written)] == ["debug"]
    frontend.get("/nowhere")
    assert [line["level"] for line in requests(written, 2)] == ["debug", "info"]


def test_no_secret_is_logged(written: Lines, frontend: httpx.Client, image_server: ImageServer) -> None:
    urls = [
        f"{image_server.url('/missing.png')}?token={SECRET}",
        f"{image_server.add('/page.png', b'<html>')}?token={SECRET}",
        f"http://user:{SECRET}@127.0.0.1/a.png",
        f"http://127.0.0.1:1/a.png?token={SECRET}#{SECRET}",
        f"http://10.0.0.1/a.png?token={SECRET}",
        f"http://nowhere.invalid/a.png?token={SECRET}",
    ]
    headers = {"Authorization": f"Bearer {SECRET}", "Cookie": SECRET, "X-API-Key": SECRET}
    answer = frontend.post(f"/?key={SECRET}", json={"images": urls}, headers=headers)
    assert len(answer.json()["failures"]) == len(urls)
    frontend.post("/", content=f"{SECRET} is not JSON", headers=headers)
    assert len(requests(written, 2)) == 2
    assert SECRET not in written.text
