"""Stand-ins for base images, from Debian and the Triton wheel, for an engine of our own, which cannot pull images."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.compose.engine import CACHE, Engine
from tools import ROOT

_STANDINS = ROOT / "tests" / "compose" / "standins"
_DEBIAN = "bookworm"
_ROOTFS = CACHE / f"{_DEBIAN}-python.tar"
_CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")


def make(engine: Engine) -> None:
    """Make a stand-in for every base image that the project's files name."""
    python = named_in("Dockerfile.frontend", "PYTHON_IMAGE")
    _import_debian(engine, python)
    _build(engine, "tritonserver", named_in("Dockerfile.triton", "TRITON_IMAGE"), python)
    for service in ("haproxy", "prometheus"):
        _build(engine, service, image_of(service), python)


def named_in(dockerfile: str, argument: str) -> str:
    """The default of a build argument."""
    found = re.search(rf"^ARG {argument}=(\S+)$", (ROOT / dockerfile).read_text(encoding="utf-8"), re.MULTILINE)
    assert found, f"{dockerfile} has no default for {argument}"
    return found[1]


def image_of(service: str) -> str:
    """The image that docker-compose.yml runs as `service`."""
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    found = re.search(rf"^ +image: (\S*{service}\S*)$", compose, re.MULTILINE)
    assert found, f"docker-compose.yml has no image for {service}"
    return found[1]


def _build(engine: Engine, name: str, image: str, python: str) -> None:
    with tempfile.TemporaryDirectory() as context:
        for file in ("requirements/tritonserver.txt", "tools/serve/numpy2_stub_fix.py"):
            shutil.copy(ROOT / file, context)
        argument = f"--build-arg=PYTHON_IMAGE={python}"
        engine.docker("build", "-t", image, argument, "-f", _STANDINS / f"{name}.Dockerfile", context)


def _import_debian(engine: Engine, image: str) -> None:
    """Import Debian with Python 3.11. The first time it is built from packages, later it comes from the cache."""
    if not _ROOTFS.exists():
        _bootstrap()
    certificates = f"ENV SSL_CERT_FILE=/{_CERTIFICATES}"
    engine.docker("import", "-c", certificates, "-c", 'CMD ["python3"]', _ROOTFS, image)


def _bootstrap() -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="birds-debootstrap-", dir="/var/tmp") as scratch:
        root = Path(scratch, "root")
        packages = "python3,python3-pip,python3-venv,ca-certificates"
        bootstrap = ["debootstrap", "--variant=minbase", f"--include={packages}", _DEBIAN, str(root)]
        done = subprocess.run(bootstrap, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"debootstrap ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        # pip in a container must trust the same certificates as this machine, because it may use a proxy.
        shutil.copy("/" / _CERTIFICATES, root / _CERTIFICATES)
        (root / "etc" / "pip.conf").write_text(f"[global]\ncert = /{_CERTIFICATES}\n")
        (root / "usr" / "bin" / "python").symlink_to("python3")
        for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):  # python:slim has none
            marker.unlink()
        for waste in (*root.glob("var/cache/apt/archives/*.deb"), *root.glob("var/lib/apt/lists/*")):
            shutil.rmtree(waste) if waste.is_dir() else waste.unlink()
        draft = _ROOTFS.with_suffix(".new")
        subprocess.run(["tar", "-C", str(root), "-cf", str(draft), "."], check=True)
        os.replace(draft, _ROOTFS)
