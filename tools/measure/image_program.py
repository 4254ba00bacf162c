"""Starts one of the image servers of the measurements: a module that, run as a program, takes a port first."""

from __future__ import annotations

import os
import socket
import sys
import time

from tools import ROOT
from tools.serve.child_process import ChildProcess


def start_image_program(module: str, port: int, *arguments: str, seconds: float) -> ChildProcess | None:
    """Run `module` until it listens on `port`. Returns None if it ends, or does not listen within `seconds`.

    An exception meanwhile, such as that of Ctrl-C, stops it.
    """
    process = ChildProcess([sys.executable, "-m", module, str(port), *arguments], os.environ, folder=ROOT)
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline and process.poll() is None:
            if _listens(port):
                return process
            time.sleep(0.05)
    except BaseException:
        process.stop(0)
        raise
    process.stop(0)
    return None


def _listens(port: int) -> bool:
    """Whether a program accepts connections to `port`. A socket that connected to itself does not count."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            return bool(connection.getsockname() != connection.getpeername())
    except OSError:
        return False
