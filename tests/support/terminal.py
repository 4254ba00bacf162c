"""A program on a pseudo-terminal, and the screen that a person sees of it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
from collections.abc import Callable, Mapping
from pathlib import Path

import pyte

_ROWS = 1000  # high enough that nothing scrolls away
_SILENCE_SECONDS = 60


def run_on_terminal(
    command: list[str],
    environment: Mapping[str, str],
    folder: Path,
    columns: int = 80,
    interrupt_when: Callable[[list[str]], bool] | None = None,
) -> tuple[list[str], int]:
    """Run `command` on a terminal of that many columns; returns the lines of its screen, and the exit code.

    Ctrl-C is typed once, as soon as `interrupt_when` is true of the lines on the screen.
    """
    screen = pyte.Screen(columns, _ROWS)
    stream = pyte.ByteStream(screen)
    pid, descriptor = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execve(command[0], command, {**environment, "TERM": "xterm"})
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    try:
        while select.select([descriptor], [], [], _SILENCE_SECONDS)[0]:
            try:
                shown = os.read(descriptor, 65536)
            except OSError:  # the program has ended
                break
            stream.feed(shown)
            if interrupt_when and interrupt_when(_lines(screen)):
                os.write(descriptor, b"\x03")
                interrupt_when = None
        else:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(descriptor)
        _, status = os.waitpid(pid, 0)
    return _lines(screen), os.waitstatus_to_exitcode(status)


def _lines(screen: pyte.Screen) -> list[str]:
    # Only the rows that were written to: most of the screen's are empty, and pyte takes long to print them.
    height, columns = max(screen.buffer, default=-1) + 1, range(screen.columns)
    lines = ["".join(screen.buffer[row][column].data for column in columns).rstrip() for row in range(height)]
    while lines and not lines[-1]:
        lines.pop()
    return lines
