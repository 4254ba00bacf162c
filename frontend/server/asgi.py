"""What a worker process runs: the application. A worker ends when its parent process has ended."""

from __future__ import annotations

import ctypes
import gc
import logging
import multiprocessing
import os
import signal

from fastapi import FastAPI

from frontend.app import create_app

_PR_SET_PDEATHSIG = 1
_GARBAGE_COLLECTION_THRESHOLD = 10_000  # new objects; Python's default is 700 to 2,000


def application() -> FastAPI:
    """The application, with its settings from the environment."""
    parent = multiprocessing.parent_process()
    if parent is not None:  # one of several workers: without its parent it would keep the port
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent.pid:  # the parent ended before the call above
            os.kill(os.getpid(), signal.SIGTERM)
    app = create_app()
    # The objects made so far are permanent. Scanning them again and again took a tenth of the frontend's time.
    gc.freeze()
    gc.set_threshold(_GARBAGE_COLLECTION_THRESHOLD)
    # Do not collect the thread and process of each log record: no line shows them, and it took 3% of a refusal's time.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    return app
