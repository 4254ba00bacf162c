"""Errors that a person can act on. The command line prints each of them as one line."""

from __future__ import annotations

from typing import ClassVar


class ToolError(Exception):
    """The text says in one line what is wrong and what to do about it."""

    exit_code: ClassVar[int] = 1


class UsageError(ToolError):
    """The command itself is wrong; nothing was started or changed."""

    exit_code = 2


class Stopped(BaseException):
    """A signal asked the program to stop. The text says what that means for the work that it was doing.

    It is not an Exception, which a handler of errors would catch, and not a KeyboardInterrupt, whose text Typer drops.
    """

    exit_code: ClassVar[int] = 130  # 128 + SIGINT, as in shells
