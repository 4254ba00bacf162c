"""The real application on a real uvicorn, in a thread of its own and on a free port."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from starlette.types import ASGIApp

from frontend.__main__ import SERVER_OPTIONS
from frontend.app import create_app
from frontend.settings import Settings

StartFrontend = Callable[..., httpx.Client]  # called with settings


@contextmanager
def running_frontend(settings: Settings) -> Iterator[str]:
    """Yield the base URL of a frontend with these settings, except for the port."""
    with running_app(create_app(settings)) as url:
        yield url


@contextmanager
def running_app(app: ASGIApp) -> Iterator[str]:
    """Yield the base URL of this application, which the test can look into."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="warning", **SERVER_OPTIONS)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the frontend ended while it was starting"
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(15)
