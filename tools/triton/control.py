"""Triton's control API: loads and unloads models of a running server, with the key that closes it to others."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections import Counter
from contextlib import suppress
from typing import Any

from tools.errors import ToolError
from tools.triton.arguments import CONTROL_HEADER
from tools.triton.control_key import read_key
from tools.triton.probe import probe_request

_LOAD_SECONDS = 600  # a large model on a slow disk
_ASK_SECONDS = 10


class ControlError(ToolError):
    """Triton refused or did not answer; the text is its own reason."""


class Refused(ControlError):
    """Triton answered, with an error."""


class TritonControl:
    """Speaks to the Triton at `url`, started with --model-control-mode=explicit."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def is_running(self, timeout_seconds: float = _ASK_SECONDS) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/v2/health/live", timeout=timeout_seconds):
                return True
        except urllib.error.HTTPError:
            return True
        except (OSError, http.client.HTTPException):
            return False

    def load(self, model: str) -> None:
        """Load `model` or what changed of it; what is being served stays until that is ready."""
        self._ask(f"/v2/repository/models/{model}/load", b"{}", _LOAD_SECONDS)

    def unload(self, model: str) -> None:
        """Take `model` out of service; requests under way are still answered. Nothing happens if it never was in."""
        with suppress(Refused):
            self._ask(f"/v2/repository/models/{model}/unload", b"{}", _ASK_SECONDS)

    def ready_versions(self, model: str) -> set[int]:
        """The versions of `model` that are being served."""
        return {int(version) for name, version in self.ready() if name == model}

    def ready(self) -> set[tuple[str, str]]:
        """Every model that is being served, with its version."""
        index: list[dict[str, Any]] = json.loads(self._ask("/v2/repository/index", b"{}", _ASK_SECONDS))
        return {(entry["name"], entry["version"]) for entry in index if entry.get("state") == "READY"}

    def instance_count(self, model: str, version: str) -> int:
        """How many instances the version should have, over all devices."""
        config = json.loads(self._ask(f"/v2/models/{model}/versions/{version}/config", None, _ASK_SECONDS))
        return sum(group["count"] * max(len(group["gpus"]), 1) for group in config["instance_group"])

    def work_done(self) -> dict[str, int]:
        """How many images each model has finished since it was loaded, all versions together."""
        done: Counter[str] = Counter()
        for entry in json.loads(self._ask("/v2/models/stats", None, _ASK_SECONDS))["model_stats"]:
            done[entry["name"]] += int(entry["inference_count"])
        return dict(done)

    def probe(self, ensemble: str, timeout_seconds: float = _ASK_SECONDS) -> None:
        """Have one image classified, ahead of the users' images. Raises ControlError if there is no answer."""
        body, headers = probe_request()
        self._ask(f"/v2/models/{ensemble}/infer", body, timeout_seconds, headers)

    def _ask(
        self, path: str, body: bytes | None, timeout_seconds: float, headers: dict[str, str] | None = None
    ) -> bytes:
        """GET, or POST `body`."""
        key = read_key(self.url)  # each time: a server that was started again may have another
        keys = {} if key is None else {CONTROL_HEADER: key}
        request = urllib.request.Request(f"{self.url}{path}", body, {**keys, **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=timeout_seconds) as response:
                answer: bytes = response.read()
                return answer
        except urllib.error.HTTPError as error:
            raise Refused(_reason(error.read()) or f"{error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            raise ControlError(f"{self.url} does not answer: {getattr(error, 'reason', error)}") from error


def _reason(body: bytes) -> str:
    try:
        lines = str(json.loads(body)["error"]).splitlines()
    except (ValueError, KeyError, TypeError):
        return ""
    return lines[0] if lines else ""
