"""The containers' health check: a real inference, which stops a Triton that will never answer again."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from PIL import Image

from frontend.inference.contract import probe_image
from tests.support.image_server import ImageServer
from tools import ROOT
from tools.serve.ports import free_port
from tools.serve.triton_process import TritonServer
from tools.triton import probe as triton_probe


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[int, int]]:
    """The signals that would have been sent, in a container whose Triton has started."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    monkeypatch.setattr(triton_probe, "STARTING", tmp_path / "starting")
    monkeypatch.setattr(triton_probe, "_PAUSE_SECONDS", 0)
    return sent


def answering(server: ImageServer, status: int, error: str) -> str:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=json.dumps({"error": error}))

    server.add("/v2/models/birds/infer", answer)
    return f"http://127.0.0.1:{server.port}"


def probe(url: str) -> int:
    return triton_probe.main(["--end-container", "--url", url])


def test_a_triton_that_classifies_is_healthy(triton: TritonServer, signals: list[tuple[int, int]]) -> None:
    assert probe(triton.http_url) == 0
    assert signals == []


def test_every_probe_is_a_new_image() -> None:
    pixels = {Image.open(io.BytesIO(probe_image())).convert("RGB").getpixel((0, 0)) for _ in range(20)}
    assert len(pixels) > 10


def test_the_probe_needs_only_the_standard_library(triton: TritonServer) -> None:
    command = [sys.executable, "-I", "-S", "-c", "import sys; sys.path.insert(0, sys.argv.pop(1)); "]
    command[-1] += "from tools.triton.probe import main; import tools.triton.entrypoint; sys.exit(main())"
    subprocess.run([*command, str(ROOT), "--url", triton.http_url], check=True, timeout=30)


def test_a_dead_stub_stops_the_container_at_once(image_server: ImageServer, signals: list[tuple[int, int]]) -> None:
    assert probe(answering(image_server, 500, "Stub process 'preprocess_0_0' is not healthy.")) == 1
    assert signals == [(1, signal.SIGTERM)]
    assert image_server.requests.total() == 1


def test_other_errors_stop_it_after_three_attempts(image_server: ImageServer, signals: list[tuple[int, int]]) -> None:
    assert probe(answering(image_server, 500, "for a while")) == 1
    assert signals == [(1, signal.SIGTERM)]
    assert image_server.requests.total() == 3


def test_a_full_queue_is_healthy(image_server: ImageServer, signals: list[tuple[int, int]]) -> None:
    assert probe(answering(image_server, 503, "Exceeds maximum queue size")) == 0
    assert signals == []


def test_a_starting_triton_is_not_stopped(signals: list[tuple[int, int]], tmp_path: Path) -> None:
    (tmp_path / "starting").touch()
    assert triton_probe.main(["--live", "--url", f"http://127.0.0.1:{free_port()}"]) == 0
    assert probe(f"http://127.0.0.1:{free_port()}") == 1
    assert signals == []
