"""Signals that end a program become an exception while it changes the model repository."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tools.errors import Stopped


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn the signals that end a program into Stopped, so that what was begun is undone.

    Signals that are ignored stay so: `nohup` and a shell's `&` start programs that way.
    """
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second signal must not interrupt the undoing
    raise Stopped("stopped; nothing was changed")
