"""Every example does what it says, run as its readers run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.image_server import ImageServer
from tests.support.images import GREEN, RED, flat
from tools import ROOT
from tools.serve.triton_process import TritonServer

EXAMPLES = ROOT / "examples"


@pytest.fixture
def environment(frontend: httpx.Client, triton: TritonServer) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BIRDS_URL": str(frontend.base_url),
        "BIRDS_TRITON_URL": triton.grpc_url,
        "BIRDS_TRITON_HTTP_URL": triton.http_url.removeprefix("http://"),
    }


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    for name, colour in {"red.png": RED, "green.jpg": GREEN}.items():
        (tmp_path / name).write_bytes(flat(colour, "PNG" if name.endswith("png") else "JPEG"))
    return ["red.png", "green.jpg"]


def run(command: list[str], directory: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("example", ["triton_http.py", "triton_grpc.py"])
def test_triton_names_the_best_labels(
    example: str, files: list[str], tmp_path: Path, environment: dict[str, str]
) -> None:
    lines = run([sys.executable, str(EXAMPLES / example), *files], tmp_path, environment).splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("red.png: 0.9")
    assert lines[0].endswith(" Rubra maxima (Great Red)")
    assert lines[3].endswith(" Viridis minor (Little Green)")


def test_the_client_takes_files_and_urls(
    files: list[str], image_server: ImageServer, tmp_path: Path, environment: dict[str, str]
) -> None:
    url = image_server.add("/green.png", flat(GREEN))
    lines = run(
        [sys.executable, str(EXAMPLES / "frontend_client.py"), *files, url, "missing.png"], tmp_path, environment
    ).splitlines()
    assert len(lines) == 10
    assert any(line.startswith(f"{url}: 0.9") and line.endswith("Viridis minor (Little Green)") for line in lines)
    assert "missing.png: No such file or directory (unreadable_file)" in lines


def test_curl_is_enough(
    files: list[str], image_server: ImageServer, tmp_path: Path, environment: dict[str, str]
) -> None:
    url = image_server.add("/green.png", flat(GREEN))
    output = run([str(EXAMPLES / "curl.sh"), files[0], url], tmp_path, environment)
    assert f'"{url}":[{{"bird_name":"Viridis minor"' in output
    assert '"red.png":[{"bird_name":"Rubra maxima"' in output
    assert output.splitlines()[-1].startswith('{"succeeded":2,"failed":0')


def test_every_example_is_run_by_a_test() -> None:
    """Here, in test_typescript.py, or in a browser."""
    texts = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("test_*.py")]
    examples = [path.name for path in EXAMPLES.iterdir() if path.is_file()]
    assert [name for name in examples if not any(f'"{name}"' in text for text in texts)] == []
