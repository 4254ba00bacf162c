"""The client installs into an empty environment and classifies from there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import httpx
import pytest

from tests.support.images import RED, flat
from tools import ROOT

# What the client may bring: httpx, and what httpx itself depends on.
ALLOWED = {"anyio", "birds-client", "certifi", "exceptiongroup", "h11", "httpcore", "httpx", "idna", "sniffio"}
ALLOWED |= {"typing-extensions"}
CLASSIFY = """
import asyncio, sys
from pathlib import Path
from birds_client import AsyncBirdsClient, BirdsClient

async def asynchronous(url, path):
    async with AsyncBirdsClient(url) as birds:
        return [result async for result in birds.classify(path)]

url, path = sys.argv[1], Path(sys.argv[2])
with BirdsClient(url) as birds:
    [result] = birds.classify(path.read_bytes(), k=1)
[again] = asyncio.run(asynchronous(url, path))
print(result.predictions[0].bird_name, again.predictions[0].bird_name, sep="\\n")
"""


@pytest.fixture
def installed(tmp_path: Path) -> str:
    """The interpreter of a new environment that holds the client and nothing else of this project."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    source = shutil.copytree(ROOT / "client", tmp_path / "client", ignore=shutil.ignore_patterns("__pycache__"))
    wheel = [
        *pip,
        "wheel",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(tmp_path),
        str(source),
    ]
    subprocess.run(wheel, check=True, timeout=120)
    (built,) = tmp_path.glob("birds_client-*.whl")
    venv.create(tmp_path / "venv", with_pip=False)
    python = str(tmp_path / "venv" / "bin" / "python")
    done = subprocess.run(
        [*pip, "--python", python, "install", str(built)], capture_output=True, text=True, timeout=180
    )
    if done.returncode and "httpx" in done.stderr:
        pytest.skip(f"httpx cannot be fetched: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    listed = subprocess.run([*pip[:3], "--python", python, "list", "--format=json"], check=True, capture_output=True)
    assert {package["name"].replace("_", "-") for package in json.loads(listed.stdout)} <= ALLOWED
    return python


def test_empty_environment_can_classify(installed: str, frontend: httpx.Client, tmp_path: Path) -> None:
    photo = tmp_path / "red.png"
    photo.write_bytes(flat(RED))
    command = [installed, "-I", "-c", CLASSIFY, str(frontend.base_url), str(photo)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["Rubra maxima", "Rubra maxima"]
