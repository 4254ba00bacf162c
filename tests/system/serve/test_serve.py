"""`birds serve` as a user runs it: it starts, answers, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.support.image_server import ImageServer
from tests.support.images import RED, flat
from tests.support.processes import alive, command_line, descendants, eventually
from tests.support.service import (
    Service,
    command,
    ends_with_nothing_left,
    environment,
    make_project,
    nothing_is_left,
    serving,
)
from tests.support.tiny_model import LABELS
from tools import ROOT
from tools.serve.ports import free_port, free_triton_ports


@pytest.fixture(scope="module")
def project(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project") / "a folder, with a space", tiny_repository)


def test_serves_until_a_signal_stops_it(project: Path, image_server: ImageServer) -> None:
    url = image_server.add("/red.png", flat(RED))
    with serving(project) as service:
        answer = httpx.post(f"{service.url}/", json={"images": [url], "k": 1}, timeout=30).json()
        assert answer["successful_results"][url][0]["bird_name"] == LABELS[0].partition(" (")[0]
        assert ends_with_nothing_left(service, signal.SIGINT)


def test_killed_service_leaves_no_process(project: Path) -> None:
    with serving(project) as service:
        family = service.family
        service.process.kill()
        assert eventually(lambda: not any(alive(pid) for pid in family))
        # Their files: tests/live/serve/test_triton_process.py


def test_a_second_signal_does_not_interrupt_the_stop(project: Path) -> None:
    with serving(project) as service:
        family = service.family
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            service.process.send_signal(number)
        assert service.wait_until_ended() == 0
        assert eventually(lambda: nothing_is_left(service, family))


def test_many_signals_stop_it_once() -> None:
    """Some arrive while an earlier one is being handled."""
    script = """
import signal
from tools.serve import service
try:
    print("up", flush=True)
    service._supervise()
except service.StopSignal:
    service._ignore_signals()
"""
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.05)
            try:
                for _ in range(20_000):
                    process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
            finally:
                process.kill()


def test_service_survives_a_closed_output_pipe(project: Path) -> None:
    """A line that is printed later, which nobody reads, must not end it either."""
    with serving(project) as service:
        service.stop_reading()
        (frontend,) = service.named("-m frontend")
        os.kill(frontend, signal.SIGKILL)
        assert eventually(lambda: service.named("-m frontend") not in ([], [frontend]))
        assert eventually(lambda: is_ready(service))
        assert ends_with_nothing_left(service)


def is_ready(service: Service) -> bool:
    try:
        return httpx.get(f"{service.url}/health/ready", timeout=30).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("port", ["99999", "0", "-5", "http"])
def test_an_invalid_port_is_refused(port: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tools.cli", "serve", f"--triton-http-port={port}"],
        env=environment(free_port()),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("birds: Invalid value for '--triton-http-port'")


def test_one_port_for_two_listeners_is_refused(project: Path) -> None:
    port = free_port()
    ended = subprocess.run(
        command((port, port, free_port())),
        cwd=project,
        env=environment(free_port()),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "another listener uses it" in ended.stderr


@pytest.mark.parametrize("taken", ["frontend", "Triton's HTTP", "Triton's gRPC", "Triton's metrics"])
def test_a_port_in_use_is_one_line_before_anything_starts(project: Path, taken: str) -> None:
    triton = free_triton_ports()
    ports = {"Triton's HTTP": triton.http, "Triton's gRPC": triton.grpc, "Triton's metrics": triton.metrics}
    ports["frontend"] = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", ports[taken]))
        other.listen()
        ended = subprocess.run(
            command((triton.http, triton.grpc, triton.metrics)),
            cwd=project,
            env=environment(ports["frontend"]),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert f"127.0.0.1:{ports[taken]} cannot be used for " in ended.stderr
    assert taken in ended.stderr


def test_an_invalid_setting_is_one_line(project: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tools.cli", "serve"],
        cwd=project,
        env=environment(8000, BIRDS_MAX_K="none"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("birds: BIRDS_MAX_K: Input should be a valid integer")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("frozen", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_signal_during_the_build_leaves_nothing_unfinished(project: Path, tmp_path: Path, frozen: bool) -> None:
    """The same for a build that does not react to the signal and must be killed."""
    copy = tmp_path / "project"
    shutil.copytree(project, copy)
    shutil.rmtree(copy / "model_repository" / "classifier" / "1")
    before = sorted(copy.rglob("*"))
    triton = free_triton_ports()
    settings = environment(free_port(), PYTHONDONTWRITEBYTECODE="1", BIRDS_MODEL_MIRROR="")
    with subprocess.Popen(
        command((triton.http, triton.grpc, triton.metrics)),
        cwd=copy,
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Building "):
                break
        if frozen:
            assert eventually((copy / "model_repository" / ".publishing" / "scratch").exists)
            (build,) = [pid for pid in descendants(process.pid) if "models build" in command_line(pid)]
            os.kill(build, signal.SIGSTOP)
        process.send_signal(signal.SIGTERM)
        output = process.stdout.read()
        assert process.wait(60) == 0
    assert "Traceback" not in output
    left = [path for path in sorted(copy.rglob("*")) if path not in before and "__pycache__" not in path.parts]
    assert [path.name for path in left if path.name not in (".lock", ".cache", "weights")] == []


def test_a_failed_build_ends_the_start(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "project"
    shutil.copytree(project, copy)
    shutil.rmtree(copy / "model_repository" / "classifier" / "1")
    (copy / "tools" / "models" / "weights" / "imagenet_birds.csv").unlink()  # what the fallback is built from
    triton = free_triton_ports()
    ended = subprocess.run(
        command((triton.http, triton.grpc, triton.metrics)),
        cwd=copy,
        env=environment(free_port(), BIRDS_MODEL_MIRROR="", https_proxy="http://127.0.0.1:9"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("birds: the classifier could not be built (see above)")
    assert "Traceback" not in ended.stderr
