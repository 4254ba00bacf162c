"""A copy of the project whose service is measured, so that its models and settings can be changed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tools import ROOT
from tools.serve.child_process import ChildProcess
from tools.triton.arguments import Ports

_PARTS = ("backends", "frontend", "model_repository", "tools")


def copy_project(folder: Path) -> None:
    """Copy what `birds serve` needs into the new folder `folder`."""
    for name in _PARTS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    if (libraries := ROOT / ".cache" / "libpython").is_dir():
        shutil.copytree(libraries, folder / ".cache" / "libpython")


def start_service(project: Path, log: Path, port: int, triton: Ports, **settings: str) -> ChildProcess:
    """Start `birds serve` in a copy of the project. Its frontend may download from the loopback interface."""
    ports = {"http": triton.http, "grpc": triton.grpc, "metrics": triton.metrics}
    command = [sys.executable, "-m", "tools.cli", "serve"]
    command += [f"--triton-{name}-port={number}" for name, number in ports.items()]
    environment = {
        **os.environ,
        "BIRDS_HOST": "127.0.0.1",
        "BIRDS_PORT": str(port),
        "BIRDS_DOWNLOAD_ALLOW_NETWORKS": "127.0.0.0/8",
        **settings,
    }
    with log.open("wb") as output:
        return ChildProcess(command, environment, output, project)
