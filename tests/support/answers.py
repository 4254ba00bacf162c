"""The documented shape of an answer, and a request whose answer is streamed as lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx

NDJSON = {"Accept": "application/x-ndjson"}
SHAPE = {
    "successful_results",
    "failed_results",
    "failures",
    "no_bird",
    "time_taken",
    "errors",
    "model_version",
    "other_versions",
}
# The answer to a request that was not processed, without its `time_taken` and `errors`.
NOTHING: dict[str, Any] = {
    "successful_results": {},
    "failed_results": [],
    "failures": [],
    "no_bird": [],
    "model_version": None,
    "other_versions": {},
}


def lines(frontend: httpx.Client, body: dict[str, object]) -> Iterator[dict[str, Any]]:
    """POST `body` and yield the lines of the streamed answer."""
    with frontend.stream("POST", "/", json=body, headers=NDJSON) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/x-ndjson"
        for line in response.iter_lines():
            yield json.loads(line)
