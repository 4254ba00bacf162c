"""The service in other people's environments: proxies, odd folders, old terminals, small mounts."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.images import RED, flat
from tests.support.service import Service, command, ends_with_nothing_left, environment, make_project, serving
from tests.support.tiny_model import LABELS
from tools.serve.ports import free_port, free_triton_ports

BIRD = LABELS[0].partition(" (")[0]


class Listener:
    """Accepts connections, as a proxy would, and records what arrives."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.connections: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(1)
                try:
                    self.connections.append(connection.recv(4096))
                except OSError:
                    self.connections.append(b"")


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture(scope="module")
def project(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("environments") / "müller" / "Vögel und Bäume", tiny_repository)


def classifies(service: Service) -> bool:
    """Whether an upload gets the right answer. The client ignores proxy variables too."""
    with httpx.Client(trust_env=False, timeout=30) as client:
        answer = client.post(f"{service.url}/files?k=1", files={"files": ("red.png", flat(RED))}).json()
    return bool(answer["successful_results"]["red.png"][0]["bird_name"] == BIRD)


def test_no_local_call_goes_through_a_proxy(project: Path, tiny_savedmodel: Path, listener: Listener) -> None:
    """Neither starting, nor an inference, nor health checks, nor a publish, which sends the control key."""
    proxy = f"http://127.0.0.1:{listener.port}"
    names = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
    proxies = {spelled: proxy for name in names for spelled in (name, name.upper())}
    with serving(project, NO_PROXY="", no_proxy="", **proxies) as service:
        assert classifies(service)
        labels = project / "labels.txt"
        labels.write_text("\n".join(LABELS) + "\n")
        publish = [sys.executable, "-m", "tools.cli", "models", "publish", f"--triton={service.triton_url}"]
        published = subprocess.run(
            [*publish, f"--savedmodel={tiny_savedmodel}", f"--labels={labels}", "--not-default"],
            cwd=project,
            env={**os.environ, **proxies},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert published.returncode == 0, published.stderr
        assert "seconds to first answer" in published.stdout, "the running Triton was told"
        assert ends_with_nothing_left(service)
    assert listener.connections == []


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"LC_ALL": "C", "LANG": "C"}, id="C"),
        pytest.param(
            {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, id="ASCII"
        ),
        pytest.param({"PYTHONIOENCODING": "iso-8859-15"}, id="ISO-8859-15"),
    ],
)
def test_serves_from_a_folder_with_umlauts(project: Path, settings: dict[str, str]) -> None:
    with serving(project, **settings) as service:
        assert classifies(service)
        assert "Traceback" not in service.output
        assert "UnicodeEncodeError" not in service.output


def test_an_ipv6_address_is_printed_in_brackets(project: Path) -> None:
    with serving(project, BIRDS_HOST="::1") as service:
        service.wait_for(rf"http://\[::1\]:{service.port}")
        assert httpx.get(f"http://[::1]:{service.port}/health/ready", timeout=30).status_code == 200


def mounted(tmp: Path, options: str) -> list[str]:
    """A command prefix that gives the service another /tmp, mounted with these options."""
    prefix = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o {options} tmpfs /tmp && exec "$@"', "sh"]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("only root can mount")
    return prefix


@pytest.fixture
def project_outside_tmp(project: Path, tmp_path: Path) -> Iterator[Path]:
    folder = Path("/var/tmp") / f"birds-test-{os.getpid()}"
    shutil.copytree(project, folder)
    yield folder
    shutil.rmtree(folder)


def test_serves_with_tmp_mounted_noexec(project_outside_tmp: Path, tmp_path: Path) -> None:
    with serving(project_outside_tmp, mounted(tmp_path, "noexec")) as service:
        assert classifies(service)


@pytest.mark.parametrize("what", ["model_repository", ".cache"])
def test_a_read_only_checkout_is_one_line(project: Path, tmp_path: Path, what: str) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(project, checkout)
    (checkout / ".cache").mkdir(exist_ok=True)
    ports = free_triton_ports()
    read_only = f'mount --bind "{checkout / what}" "{checkout / what}" && mount -o remount,bind,ro "{checkout / what}"'
    ended = subprocess.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-c",
            f'{read_only} && exec "$@"',
            "sh",
            *command((ports.http, ports.grpc, ports.metrics)),
        ],
        cwd=checkout,
        env=environment(free_port()),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "mount" in ended.stderr:
        pytest.skip("only root can mount")
    assert ended.returncode == 1
    assert f"{what} must be writable" in ended.stderr
    assert ended.stderr.count("\n") == 1
