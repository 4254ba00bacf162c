"""What `helm test` runs inside a cluster, run here: with a service that works, and with none."""

from __future__ import annotations

import os
import subprocess
import sys

import httpx

from tools import ROOT
from tools.serve.ports import free_port

PROGRAM = ROOT / "deploy" / "chart" / "files" / "classify.py"


def run(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM)], env={**os.environ, "URL": url}, capture_output=True, text=True, check=False
    )


def test_it_has_an_image_classified(frontend: httpx.Client) -> None:
    done = run(str(frontend.base_url).rstrip("/"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "bird_name" in done.stdout


def test_it_says_why_it_fails() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = run(url)
    assert done.returncode == 1
    assert "refused" in done.stderr
    assert url in done.stderr
