"""The one place that turns the exception of a command into a line on standard error and an exit code.

Everything else is imported inside `main`, so that Ctrl-C during an import also ends with one line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from tools.cli.interrupt import INTERRUPTED, end_at_ctrl_c


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `birds` with these arguments (default: those of sys.argv) and return its exit code."""
    if arguments is None:  # this process is `birds` and nothing else
        end_at_ctrl_c()
    try:
        return _run(arguments)
    except KeyboardInterrupt:  # of a command that measures
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(arguments: Sequence[str] | None) -> int:
    from typer.exceptions import TyperException

    from tools.cli.app import app
    from tools.errors import Stopped, ToolError

    try:
        code = int(app(arguments, prog_name="birds", standalone_mode=False) or 0)
        sys.stdout.flush()
        return _fail("interrupted", code) if code == INTERRUPTED else code  # how Typer returns KeyboardInterrupt
    except Stopped as stopped:
        return _fail(str(stopped), INTERRUPTED)
    except ToolError as error:
        return _fail(str(error), error.exit_code)
    except TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # which Typer exports nowhere
            print(error.format_message(), file=sys.stderr)
            return 2
        context = getattr(error, "ctx", None)
        help_command = f"{context.command_path if context else 'birds'} --help"
        text = error.format_message().replace("Value error, ", "")  # Typer passes on pydantic's prefix
        return _fail(f"{text} (see {help_command})", 2)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)
    except ValueError as error:
        if settings := _wrong_settings(error):
            return _fail(settings, 2)
        raise


def _wrong_settings(error: ValueError) -> str | None:
    """What is wrong with the BIRDS_* variables, if pydantic says so."""
    if "pydantic" not in sys.modules:
        return None
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return None
    return ", ".join(
        f"BIRDS_{str(problem['loc'][0]).upper()}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors()
    )


def _fail(text: str, code: int) -> int:
    print(f"birds: {text}", file=sys.stderr, flush=True)
    return code
