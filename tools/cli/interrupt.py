"""Ctrl-C ends `birds` with one line and exit code 130, from the call of `main()` to the end of the program.

While Python itself starts, about a tenth of a second, Ctrl-C still gives a traceback.

Python's own KeyboardInterrupt is not used. It can appear in any line of any library: an import turns it into an
ImportError, a destructor prints it and continues, and during the end of the program it becomes a traceback.
"""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from tools.errors import Stopped

T = TypeVar("T")
INTERRUPTED = Stopped.exit_code


def end_at_ctrl_c() -> None:
    """From now on Ctrl-C ends the program at once. A program that was started with Ctrl-C ignored goes on ignoring it.

    That is for imports, and for work that leaves nothing behind. Other work has handlers of its own.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end)
        # When Python shuts down it restores the default action, which would kill the program without a message.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # runs last, because it was registered first


def run_until_ctrl_c(work: Coroutine[Any, Any, T], text: str) -> T:
    """Run `work` with asyncio.run. Ctrl-C cancels it, so that it can tidy up; then Stopped is raised with `text`.

    A second Ctrl-C ends the program at once.
    """
    import asyncio  # not above: until end_at_ctrl_c is called, each import is a chance for a traceback

    async def run() -> T:
        before = signal.getsignal(signal.SIGINT)
        if before is signal.SIG_IGN:
            return await work
        loop, working = asyncio.get_running_loop(), asyncio.ensure_future(work)
        is_pressed = False

        def press() -> None:
            nonlocal is_pressed
            if is_pressed:
                _end()
            is_pressed = True
            working.cancel()

        loop.add_signal_handler(signal.SIGINT, press)
        try:
            return await working
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            signal.signal(signal.SIGINT, before)
            if is_pressed:
                raise Stopped(text)

    return asyncio.run(run())


def _end(*_: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.isatty(2) and os.environ.get("TERM") != "dumb":
        os.write(2, b"\r\x1b[K\x1b[?25h")  # clear the line of a progress bar, and show the cursor, which it hides
    os.write(2, b"birds: interrupted\n")
    os._exit(INTERRUPTED)
