"""`python -m tools.serve` as a user runs it: it starts, it answers, and however it ends nothing is left."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.image_server import ImageServer
from tests.images import RED, flat
from tests.ports import free_port, free_triton_ports
from tests.processes import alive, command_line, descendants, eventually, regions
from tests.tiny_model import LABELS
from tools.model_repository import ROOT


@dataclass
class Service:
    """A running `tools.serve` in a project folder of its own."""

    process: subprocess.Popen[str]
    port: int
    triton_ports: tuple[int, int, int]
    family: list[int]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def named(self, *names: str) -> int:
        """The one descendant whose command line has one of these."""
        return next(pid for pid in self.family if any(name in command_line(pid) for name in names))


@pytest.fixture(scope="module")
def project(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose model repository is the tiny one: the commands, far from the real weights."""
    project = tmp_path_factory.mktemp("project") / "a folder, with a space"
    for folder in ("backends", "frontend", "tools"):
        shutil.copytree(ROOT / folder, project / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(tiny_repository, project / "model_repository")
    shutil.rmtree(project / "model_repository" / "classifier_on_tensorflow")
    return project


def command(triton_ports: tuple[int, int, int]) -> list[str]:
    names = ("http", "grpc", "metrics")
    ports = [f"--triton-{name}-port={port}" for name, port in zip(names, triton_ports, strict=True)]
    return [sys.executable, "-m", "tools.serve", *ports]


def environment(port: int, **settings: str) -> dict[str, str]:
    return {**os.environ, "BIRDS_PORT": str(port), "BIRDS_DOWNLOAD_ALLOW_NETWORKS": "127.0.0.0/8", **settings}


@contextmanager
def serving(project: Path) -> Iterator[Service]:
    port, triton = free_port(), free_triton_ports()
    triton_ports = (triton.http, triton.grpc, triton.metrics)
    with subprocess.Popen(
        command(triton_ports),
        cwd=project,
        env=environment(port),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            lines: list[str] = []
            for line in process.stdout:
                lines.append(line)
                if line.startswith("Ctrl-C"):
                    break
            else:
                pytest.fail("".join(lines))
            yield Service(process, port, triton_ports, descendants(process.pid))
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def nothing_is_left(service: Service) -> bool:
    for port in (service.port, *service.triton_ports):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return False
    return not any(alive(pid) for pid in service.family) and not regions(service.process.pid)


def test_serves_until_it_is_asked_to_stop(project: Path, image_server: ImageServer) -> None:
    url = image_server.add("/red.png", flat(RED))
    with serving(project) as service:
        answer = httpx.post(f"{service.url}/", json={"images": [url], "k": 1}, timeout=30).json()
        assert answer["successful_results"][url][0]["bird_name"] == LABELS[0].partition(" (")[0]
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0
    assert nothing_is_left(service)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        pytest.param(lambda service: service.process.send_signal(signal.SIGINT), 0, id="Ctrl-C"),
        pytest.param(lambda service: os.kill(service.named("tritonserver"), signal.SIGKILL), 1, id="Triton crashes"),
        pytest.param(lambda service: os.kill(service.named("-m frontend"), signal.SIGKILL), 1, id="frontend crashes"),
    ],
)
def test_everything_ends_together(project: Path, end: Callable[[Service], None], code: int) -> None:
    with serving(project) as service:
        end(service)
        output, _ = service.process.communicate(timeout=60)
        assert service.process.returncode == code
        if code:
            assert re.search(r"^serve: .*(the frontend|Triton) ended unexpectedly", output, re.MULTILINE)
    assert nothing_is_left(service)


def test_everything_ends_when_it_is_killed_outright(project: Path) -> None:
    with serving(project) as service:
        service.process.kill()
        assert eventually(lambda: nothing_is_left(service))


def test_a_second_signal_does_not_cut_the_stopping_short(project: Path) -> None:
    with serving(project) as service:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            service.process.send_signal(number)
        assert service.process.wait(60) == 0
    assert nothing_is_left(service)


def test_whoever_reads_its_output_may_go_away(project: Path) -> None:
    with serving(project) as service:
        assert service.process.stdout is not None
        service.process.stdout.close()
        assert httpx.get(f"{service.url}/health/ready", timeout=30).status_code == 200
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0
        service.process.stdout = None
    assert nothing_is_left(service)


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
    assert "it is asked for twice" in ended.stderr


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
    assert f"127.0.0.1:{ports[taken]}, wanted for " in ended.stderr
    assert taken in ended.stderr


def test_a_setting_that_makes_no_sense_is_one_line(project: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tools.serve"],
        cwd=project,
        env=environment(8000, BIRDS_MAX_K="none"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("serve: BIRDS_MAX_K: Input should be a valid integer")
    assert ended.stderr.count("\n") == 1


def test_a_signal_while_it_builds_leaves_nothing_half_built(project: Path, tmp_path: Path) -> None:
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
    (copy / "tools" / "weights" / "imagenet_birds.csv").unlink()  # what the fallback is built from
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
    assert ended.stderr.splitlines()[-1].startswith("serve: the classifier could not be built (see above)")
    assert "Traceback" not in ended.stderr
