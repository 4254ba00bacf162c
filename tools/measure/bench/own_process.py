"""Runs work in a process of its own, so that it does not slow down the measuring process."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any


def own_process(prepare: Callable[..., None] | None = None, *arguments: Any) -> ProcessPoolExecutor:
    """An executor with one process, which first calls `prepare` with `arguments`. It ends with this process."""
    return ProcessPoolExecutor(1, get_context("spawn"), _begin, (prepare, arguments))


def _begin(prepare: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the measuring process, which then ends this one
    if prepare:
        prepare(*arguments)
