"""The frontend in a process of its own, so that its memory and CPU time can be measured."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.support.processes import eventually
from tools.serve.child_process import ChildProcess
from tools.serve.ports import free_port


@contextmanager
def frontend_process(triton_url: str, **settings: str) -> Iterator[tuple[str, int]]:
    """Yield the URL and process id of a frontend that is ready. `settings` are BIRDS_* variables without prefix."""
    port = free_port()
    variables = {
        "BIRDS_PORT": str(port),
        "BIRDS_TRITON_URL": triton_url,
        "BIRDS_DOWNLOAD_ALLOW_NETWORKS": "127.0.0.0/8",
        "BIRDS_LOG_LEVEL": "warning",
        **{f"BIRDS_{name.upper()}": value for name, value in settings.items()},
    }
    process = ChildProcess([sys.executable, "-m", "frontend"], {**os.environ, **variables})
    url = f"http://127.0.0.1:{port}"
    try:
        assert eventually(lambda: _is_ready(url))
        yield url, process.pid
    finally:
        process.stop(10)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=10).status_code == 200
    except httpx.TransportError:
        return False
