"""The real application behind a real uvicorn, on a thread of its own and a free port."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from frontend.__main__ import PROTOCOL
from frontend.app import create_app
from frontend.settings import Settings
from tools.serve.ports import free_port


@contextmanager
def running_frontend(settings: Settings) -> Iterator[str]:
    """Yield the base URL of a frontend with these settings (its port is chosen here)."""
    with running_app(create_app(settings)) as url:
        yield url


@contextmanager
def running_app(app: FastAPI) -> Iterator[str]:
    """The same for an application that a test looks into."""
    port = free_port()
    config = uvicorn.Config(app, port=port, log_level="warning", http=PROTOCOL, ws="none", proxy_headers=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the frontend ended while starting"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(15)
