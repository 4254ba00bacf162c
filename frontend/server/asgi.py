"""What a process that answers requests runs: the application, and the end of it when its parent is gone."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal

from fastapi import FastAPI

from frontend.app import create_app

_PR_SET_PDEATHSIG = 1
_GARBAGE_AFTER_OBJECTS = 10_000


def application() -> FastAPI:
    """The application, with its settings from the environment."""
    parent = multiprocessing.parent_process()
    if parent is not None:  # one of several workers: the port must not stay taken by orphans
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent.pid:
            os.kill(os.getpid(), signal.SIGTERM)
    app = create_app()
    gc.freeze()  # what is there now stays: to look through it again and again took a tenth of the frontend's time
    gc.set_threshold(_GARBAGE_AFTER_OBJECTS)
    return app
