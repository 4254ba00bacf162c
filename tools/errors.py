"""Errors that a person can act on. The command line prints each of them as one line."""

from __future__ import annotations

from typing import ClassVar


class ToolError(Exception):
    """The text says in one line what is wrong and what to do about it."""

    exit_code: ClassVar[int] = 1


class UsageError(ToolError):
    """The command itself is wrong; nothing was started or changed."""

    exit_code = 2


class Stopped(KeyboardInterrupt):
    """A signal asked the program to stop. The text says what that means for the work it was doing."""
