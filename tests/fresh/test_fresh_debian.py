"""`make serve` on a machine with a minimal Debian."""

from __future__ import annotations

import shutil
import time

import httpx
import psutil
import pytest

from tests.fresh.conftest import CHECKOUT, PACKAGES, Debian, interrupt
from tests.support.images import RED, flat
from tools.serve.ports import free_port, free_triton_ports

pytestmark = pytest.mark.fresh
START_SECONDS = 500


def test_serves_from_nothing(debian: Debian, request: pytest.FixtureRequest) -> None:
    port, triton = free_port(), free_triton_ports()
    ports = f"--triton-http-port={triton.http} --triton-grpc-port={triton.grpc} --triton-metrics-port={triton.metrics}"
    process = debian.start("make", "serve", f"ARGS={ports}", BIRDS_PORT=str(port))
    lines = []
    deadline = time.monotonic() + START_SECONDS
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C") or time.monotonic() > deadline:
                break
        output = "".join(lines)
        assert "Ctrl-C" in lines[-1], output
        answer = httpx.post(
            f"http://127.0.0.1:{port}/files?k=3",
            files={"files": ("photo.jpg", _photo(request))},
            timeout=60,
            trust_env=False,
        ).json()
        assert len(answer["successful_results"]["photo.jpg"]) == 3, answer
        family = psutil.Process(process.pid).children(recursive=True)
        interrupt(process)
        rest, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
    assert process.returncode == 0, rest
    assert "Traceback" not in output + rest
    assert not any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in family)
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        assert list(debian.inside(folder).iterdir()) == []
    assert not list(debian.inside(CHECKOUT).glob(".cache/control/*"))


def test_missing_packages_are_one_line_before_any_download(debian: Debian) -> None:
    for library in debian.inside("/usr/lib/x86_64-linux-gnu").glob("libpython3*.so*"):
        library.unlink()
    for module in debian.inside("/usr/lib").glob("python3.*/ensurepip"):
        shutil.rmtree(module)
    shutil.rmtree(debian.inside("/var/lib/apt/lists"), ignore_errors=True)
    (package,) = (name for release, name in PACKAGES.items() if release in debian.root.name)
    started = debian.run("make", "serve")
    assert started.returncode == 2
    (problem,) = (line for line in started.stdout.splitlines() if line.startswith("serve: "))
    assert problem.endswith(f"sudo apt-get install python3-venv {package}")
    assert not debian.inside(CHECKOUT / ".venv").exists()


def _photo(request: pytest.FixtureRequest) -> bytes:
    """A real photo if there are any."""
    try:
        photos: dict[str, bytes] = request.getfixturevalue("photos")
    except pytest.skip.Exception:
        return flat(RED)
    return photos[sorted(photos)[0]]
