"""Triton's control APIs answer only requests that have the key."""

from __future__ import annotations

import http.client
import json
import shutil
import stat
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from tests.support.processes import children, eventually
from tools.serve.ports import free_triton_ports
from tools.serve.triton_process import TritonServer
from tools.triton.arguments import CONTROL_APIS, CONTROL_HEADER, restricting_arguments
from tools.triton.control import ControlError, Refused, TritonControl
from tools.triton.control_key import key_path, read_key

Call = Callable[..., Any]
MODELS = "/v2/repository/models"
CLOSED = [
    pytest.param(f"{MODELS}/birds/load", lambda client, key: client.load_model("birds", headers=key), id="load"),
    pytest.param(f"{MODELS}/birds/unload", lambda client, key: client.unload_model("birds", headers=key), id="unload"),
    pytest.param("/v2/repository/index", lambda client, key: client.get_model_repository_index(key), id="index"),
    pytest.param("/v2/logging", lambda client, key: client.update_log_settings({}, key), id="logging"),
    pytest.param("/v2/trace/setting", lambda client, key: client.update_trace_settings(headers=key), id="trace"),
]

SLOW_CONFIG = """
name: "slow"
backend: "python"
input [{ name: "IN" data_type: TYPE_FP32 dims: [1] }]
output [{ name: "OUT" data_type: TYPE_FP32 dims: [1] }]
"""
SLOW_MODEL = """
import pathlib, time
class TritonPythonModel:
    def initialize(self, arguments):
        pathlib.Path("{go}.started").touch()
        while not pathlib.Path("{go}").exists():
            time.sleep(0.05)
"""


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


def test_load_keeps_no_http_connection_waiting(tiny_repository: Path, tmp_path: Path) -> None:
    """Over HTTP, a load would keep the thread of this open connection busy until the model is loaded."""
    repository, go = tmp_path / "models", tmp_path / "go"
    shutil.copytree(tiny_repository, repository, ignore=shutil.ignore_patterns("classifier_on_tensorflow"))
    with TritonServer(free_triton_ports(), tmp_path / "triton.log", repository) as server:
        server.wait_until_ready()
        (repository / "slow" / "1").mkdir(parents=True)
        (repository / "slow" / "config.pbtxt").write_text(SLOW_CONFIG)
        (repository / "slow" / "1" / "model.py").write_text(SLOW_MODEL.format(go=go))
        connection = http.client.HTTPConnection("127.0.0.1", server.ports.http, timeout=20)
        ask_if_live(connection)
        loading = threading.Thread(target=TritonControl(server.http_url).load, args=["slow"])
        loading.start()
        try:
            assert eventually(lambda: go.with_suffix(".started").exists(), 60)
            ask_if_live(connection)
            assert loading.is_alive()
        finally:
            go.touch()
            loading.join()
            connection.close()
        assert TritonControl(server.http_url).ready_versions("slow") == {1}


def ask_if_live(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/v2/health/live")
    assert connection.getresponse().read() == b""


@pytest.mark.parametrize("control", ["by the key file", "by its address"])
def test_failed_load_says_why(triton: TritonServer, control: str) -> None:
    url = None if control == "by the key file" else triton.grpc_url
    with pytest.raises(Refused, match="failed to load 'nightingale'"):
        TritonControl(triton.http_url, grpc_url=url).load("nightingale")


def test_load_without_a_server_gets_no_answer() -> None:
    ports = free_triton_ports()
    control = TritonControl(f"http://127.0.0.1:{ports.http}", "key", f"127.0.0.1:{ports.grpc}")
    with pytest.raises(ControlError, match=f"127.0.0.1:{ports.grpc} does not answer: "):
        control.load("birds")


def test_only_the_owner_can_read_the_key(triton: TritonServer) -> None:
    path = key_path(triton.ports.http)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text()) >= 40
    assert read_key(f"http://example.org:{triton.ports.http}") is None
    assert TritonControl(triton.http_url).ready_versions("classifier") == {1}
