"""Triton's control API: loads and unloads models of a running server. `control_key` has the key that it asks for."""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.request
from collections import Counter
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from tritonclient.utils import InferenceServerException

from tools.errors import ToolError
from tools.triton import direct_grpc
from tools.triton.arguments import CONTROL_HEADER
from tools.triton.control_key import key_file_fault, read_grpc_url, read_key
from tools.triton.direct_http import open_directly
from tools.triton.probe import probe_request

_GRPC_HEADER_PREFIX = "triton-grpc-protocol-"
_NO_ANSWER = ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", "StatusCode.CANCELLED")
_LOAD_TIMEOUT_SECONDS = 600  # a large model on a slow disk
_TIMEOUT_SECONDS = 10


class ControlError(ToolError):
    """A request to the control API failed, or cannot be made; the text says why."""


class NoAnswer(ControlError):
    """Triton does not answer, or what answers is not a Triton."""


class Refused(ControlError):
    """Triton answered with an error; `status` is the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class LocalFault(ControlError):
    """The request could not be sent: no free descriptor or port, no such host. It says nothing about Triton."""


class TritonControl:
    """Talks to the Triton at `url`, which runs with --model-control-mode=explicit.

    Without `key` it reads the key's file for each request, since a server that was restarted can have another one.
    `grpc_url` (host:port) is the same server over gRPC; the default comes from the key's file, if there is one. Raises
    ControlError for a URL that can never work.
    """

    def __init__(self, url: str, key: str | None = None, grpc_url: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._key = key
        self._grpc_url = grpc_url
        _require_http_url(url)

    def is_running(self, timeout_seconds: float = _TIMEOUT_SECONDS) -> bool:
        """Return whether a server answers, healthy or not."""
        try:
            self.check_live(timeout_seconds)
        except ControlError:
            return False
        return True

    def check_live(self, timeout_seconds: float) -> None:
        """Raise NoAnswer if no server answers, or LocalFault if this machine could not send the request."""
        with suppress(Refused):
            self._ask("/v2/health/live", None, timeout_seconds)

    def load(self, model: str) -> None:
        """Load `model`, or reload what has changed in it. The loaded one serves until the new one is ready.

        Over gRPC if possible. Over HTTP, Triton (seen on 2.51) loads the model in the thread that also serves other
        connections, often all of them: their requests get no response until the model is loaded.
        """
        if grpc_url := self._grpc_url or read_grpc_url(self.url):
            self._load_over_grpc(grpc_url, model)
        else:
            self._ask(f"/v2/repository/models/{model}/load", b"{}", _LOAD_TIMEOUT_SECONDS)

    def unload(self, model: str) -> None:
        """Stop serving `model`; it still answers the requests in progress. Nothing happens if it was not loaded."""
        with suppress(Refused):
            self._ask(f"/v2/repository/models/{model}/unload", b"{}", _TIMEOUT_SECONDS)

    def ready_versions(self, model: str) -> set[int]:
        """Return the versions of `model` that are being served."""
        return {int(version) for name, version in self.ready() if name == model}

    def ready(self) -> set[tuple[str, str]]:
        """Return the name and version of every model that is being served."""
        index: list[dict[str, Any]] = self._ask_json("/v2/repository/index", b"{}")
        return {(entry["name"], entry["version"]) for entry in index if entry.get("state") == "READY"}

    def instance_count(self, model: str, version: str) -> int:
        """Return how many instances the version should have, over all devices."""
        config = self._ask_json(f"/v2/models/{model}/versions/{version}/config", None)
        return sum(group["count"] * max(len(group["gpus"]), 1) for group in config["instance_group"])

    def images_done(self) -> dict[str, int]:
        """Return how many images each model has finished since it was loaded, all versions together."""
        done: Counter[str] = Counter()
        for entry in self._ask_json("/v2/models/stats", None)["model_stats"]:
            done[entry["name"]] += int(entry["inference_count"])
        return dict(done)

    def probe(self, ensemble: str, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        """Classify one image, ahead of the users' images. Raises ControlError if that fails."""
        body, headers = probe_request()
        self._ask(f"/v2/models/{ensemble}/infer", body, timeout_seconds, headers)

    def _load_over_grpc(self, grpc_url: str, model: str) -> None:
        key = self._key or read_key(self.url)
        headers = {} if key is None else {f"{_GRPC_HEADER_PREFIX}{CONTROL_HEADER}": key}
        try:
            with direct_grpc.connect(grpc_url) as client:
                client.load_model(model, headers, client_timeout=_LOAD_TIMEOUT_SECONDS)
        except InferenceServerException as error:
            reason = next(iter(error.message().splitlines()), "")
            if error.status() in _NO_ANSWER:
                raise NoAnswer(f"{grpc_url} does not answer: {reason}") from error
            raise Refused(reason, HTTPStatus.BAD_REQUEST) from error

    def _ask_json(self, path: str, body: bytes | None) -> Any:
        answer = self._ask(path, body, _TIMEOUT_SECONDS)
        try:
            return json.loads(answer)
        except ValueError as error:
            raise NoAnswer(f"{self.url} does not answer like a Triton: {path} is not JSON") from error

    def _ask(
        self, path: str, body: bytes | None, timeout_seconds: float, headers: dict[str, str] | None = None
    ) -> bytes:
        """GET, or POST `body`."""
        key = self._key or read_key(self.url)
        keys = {} if key is None else {CONTROL_HEADER: key}
        request = urllib.request.Request(f"{self.url}{path}", body, {**keys, **(headers or {})})
        try:
            with open_directly(request, timeout_seconds) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            reason = _reason(error.read()) or f"{error.code} {error.reason}"
            if key is None and error.code == HTTPStatus.FORBIDDEN and (fault := key_file_fault(self.url)):
                reason += f": {fault}"
            raise Refused(reason, error.code) from error
        except (OSError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", error)
            if not isinstance(cause, OSError) or isinstance(cause, (ConnectionError, TimeoutError)):
                raise NoAnswer(f"{self.url} does not answer: {cause}") from error
            raise LocalFault(f"{self.url} cannot be asked: {cause}") from error


def _require_http_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or re.search(r"[\s@]", url):
        shown = "the Triton address" if "@" in url else repr(url)  # what precedes an @ can be a password
        raise ControlError(f"{shown} is not of the form http://HOST:PORT")


def _reason(body: bytes) -> str:
    try:
        lines = str(json.loads(body)["error"]).splitlines()
    except (ValueError, KeyError, TypeError):
        return ""
    return lines[0] if lines else ""
