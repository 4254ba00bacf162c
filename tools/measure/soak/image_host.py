"""An HTTP server for the images in a folder, as a process that can be killed, frozen and started again.

As a program it takes a port and a folder. Files in its folder `slow` are sent slowly; `/never` is not answered.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from tools.measure.image_program import start_image_program
from tools.serve.ports import free_port

NEVER = "/never"
SLOW_SECONDS = 1.5
_NEVER_SECONDS = 60
_START_SECONDS = 10
_STARTS = 12


class ImageHost:
    """The server of `folder`; use as a context manager. Its faults wait with `wait`, which may return early."""

    def __init__(self, folder: Path) -> None:
        self.wait: Callable[[float], object] = time.sleep
        self._port = free_port()
        self._folder = folder

    def __enter__(self) -> ImageHost:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop(0)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._port}{path}"

    def go_away(self, seconds: float) -> None:
        """Kill the server, and start it on the same port after `seconds`."""
        self._process.stop(0)
        self.wait(seconds)
        self._start()

    def stall(self, seconds: float) -> None:
        """Freeze the server for `seconds`: it accepts connections but sends nothing."""
        os.kill(self._process.pid, signal.SIGSTOP)
        self.wait(seconds)
        os.kill(self._process.pid, signal.SIGCONT)

    def flap(self, times: int) -> None:
        """Let the server go away and stall in turns."""
        for _ in range(times):
            self.go_away(1)
            self.wait(0.5)
            self.stall(0.3)

    def _start(self) -> None:
        """Start the server and wait until it listens.

        While it was away, another connection may have taken its port as its local end: then the start is repeated.
        Raises TimeoutError if it does not listen after _STARTS of them.
        """
        for _ in range(_STARTS):
            if process := start_image_program(__name__, self._port, str(self._folder), seconds=_START_SECONDS):
                self._process = process
                return
        raise TimeoutError(f"the image host did not listen on port {self._port}")


def main(port: int, folder: Path) -> None:
    content = {f"/{file.relative_to(folder)}": file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == NEVER:
            await asyncio.sleep(_NEVER_SECONDS)
        if (file := content.get(request.path)) is None:
            return web.Response(status=404)
        if not request.path.startswith("/slow/"):
            return web.Response(body=file, content_type="image/jpeg")
        response = web.StreamResponse(headers={"Content-Length": str(len(file))})
        half = len(file) // 2
        with suppress(ConnectionResetError):  # some clients hang up, as they are meant to
            await response.prepare(request)
            await response.write(file[:half])
            await asyncio.sleep(SLOW_SECONDS)
            await response.write(file[half:])
        return response

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    web.run_app(application, host="127.0.0.1", port=port, access_log=None, print=None, shutdown_timeout=0.1)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
