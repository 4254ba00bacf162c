"""Triton's control APIs answer only requests that have the key."""

from __future__ import annotations

import json
import stat
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from tests.support.processes import children, eventually
from tools.serve.triton_process import TritonServer
from tools.triton.arguments import CONTROL_APIS, CONTROL_HEADER, restricting_arguments
from tools.triton.control import KEYS, TritonControl, read_key

Call = Callable[..., Any]
MODELS = "/v2/repository/models"
CLOSED = [
    pytest.param(f"{MODELS}/birds/load", lambda client, key: client.load_model("birds", headers=key), id="load"),
    pytest.param(f"{MODELS}/birds/unload", lambda client, key: client.unload_model("birds", headers=key), id="unload"),
    pytest.param("/v2/repository/index", lambda client, key: client.get_model_repository_index(key), id="index"),
    pytest.param("/v2/logging", lambda client, key: client.update_log_settings({}, key), id="logging"),
    pytest.param("/v2/trace/setting", lambda client, key: client.update_trace_settings(headers=key), id="trace"),
]


def status(triton: TritonServer, path: str, body: dict[str, Any] | None, headers: dict[str, str]) -> int:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{triton.http_url}{path}", data, headers), timeout=30
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize(("path", "call"), CLOSED)
def test_a_control_api_is_closed_without_the_key(triton: TritonServer, path: str, call: Call) -> None:
    for headers in ({}, {CONTROL_HEADER: "guessed"}):
        assert status(triton, path, {}, headers) == 403
    with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as client:
        for headers in ({}, {f"triton-grpc-protocol-{CONTROL_HEADER}": "guessed"}):
            with pytest.raises(InferenceServerException, match="restricted"):
                call(client, headers)


@pytest.mark.parametrize(("path", "call"), [case for case in CLOSED if case.id != "unload"])
def test_a_control_api_is_open_with_the_key(triton: TritonServer, path: str, call: Call) -> None:
    key = read_key(triton.http_url)
    assert key is not None
    stubs = len(children(triton.pid))
    assert status(triton, path, {}, {CONTROL_HEADER: key}) == 200
    with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as client:
        call(client, {f"triton-grpc-protocol-{CONTROL_HEADER}": key})
    # A load can replace a stub, and Triton ends the old one seconds after its answer. The next test must not see that.
    assert eventually(lambda: len(children(triton.pid)) == stubs)


@pytest.mark.parametrize("path", ["/v2/models/birds/stats", "/v2/models/birds/config", "/v2", "/v2/health/ready"])
def test_other_apis_are_open_to_every_client(triton: TritonServer, path: str) -> None:
    assert status(triton, path, None, {}) == 200


def test_a_setting_opens_shared_memory(triton: TritonServer) -> None:
    """The tests' Triton has it open for perf_analyzer."""
    assert status(triton, "/v2/systemsharedmemory/status", None, {}) == 200
    assert "shared-memory" in str(restricting_arguments("key"))
    assert "shared-memory" not in str(restricting_arguments("key", ["shared-memory"]))
    assert restricting_arguments("key", CONTROL_APIS) == []


def test_only_the_owner_can_read_the_key(triton: TritonServer) -> None:
    path = KEYS / f"triton-{triton.ports.http}.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text()) >= 40
    assert read_key(f"http://example.org:{triton.ports.http}") is None
    assert TritonControl(triton.http_url).ready_versions("classifier") == {1}
