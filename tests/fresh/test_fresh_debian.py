"""`make serve` and `make test` on a machine with a minimal Debian."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import httpx
import pytest

from tests.fresh.conftest import CHECKOUT, PACKAGES, START_SECONDS, Debian, interrupt
from tests.support.images import RED, flat
from tests.support.processes import alive
from tests.support.service import Service

pytestmark = [pytest.mark.fresh, pytest.mark.needs("mmdebstrap")]
each_release = pytest.mark.parametrize("release", list(PACKAGES))


@each_release
def test_missing_packages_are_one_line_before_any_download(release: str, unpack: Callable[[str], Debian]) -> None:
    debian = unpack(release)
    for library in debian.inside("/usr/lib/x86_64-linux-gnu").glob("libpython3*.so*"):
        library.unlink()
    for module in debian.inside("/usr/lib").glob("python3.*/ensurepip"):
        shutil.rmtree(module)
    started = debian.run("make", "serve")
    assert started.returncode == 2
    (problem,) = (line for line in started.stdout.splitlines() if line.startswith("serve: "))
    assert problem.endswith(f"sudo apt-get install python3-venv {PACKAGES[release]}")
    assert not debian.inside(CHECKOUT / ".venv").exists()


@each_release
def test_serves_from_nothing(
    release: str, debians: dict[str, Debian], services: dict[str, Service], request: pytest.FixtureRequest
) -> None:
    debian, service = debians[release], services[release]
    service.wait_for("^Ctrl-C", START_SECONDS)
    answer = httpx.post(
        f"{service.url}/files?k=3", files={"files": ("photo.jpg", _photo(request))}, timeout=60, trust_env=False
    ).json()
    assert len(answer["successful_results"]["photo.jpg"]) == 3, answer
    family = service.family
    interrupt(service.process)
    assert service.wait_until_ended() == 0, service.output
    assert "Traceback" not in service.output
    assert not any(alive(pid) for pid in family)
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        assert list(debian.inside(folder).iterdir()) == []
    assert not list(debian.inside(CHECKOUT).glob(".cache/control/*"))


@each_release
def test_make_test_collects_every_test(release: str, collections: dict[str, tuple[int, str]]) -> None:
    code, output = collections[release]
    assert code == 0, output[-5000:]
    assert "Without root or sudo, ask for: sudo apt-get install" in output
    assert "tests/system/serve/test_serve.py::" in output


def _photo(request: pytest.FixtureRequest) -> bytes:
    """A real photo if there are any."""
    try:
        photos: dict[str, bytes] = request.getfixturevalue("photos")
    except pytest.skip.Exception:
        return flat(RED)
    return photos[sorted(photos)[0]]
