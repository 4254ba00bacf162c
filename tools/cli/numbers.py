"""Numbers on the command line, as people write them.

Python and Typer also read `1_0` (as 10), `٣`, `inf` and `nan`, so that a typing mistake would become another value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import typer

_WHOLE = re.compile(r"[+-]?[0-9]{1,30}")
_DECIMAL = re.compile(r"[+-]?([0-9]{1,30}(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")
N = TypeVar("N", int, float)


def whole_number(least: int | None = None, most: int | None = None) -> Callable[[str | int], int]:
    """Return a parser for an option or argument that takes a whole number from `least` to `most`."""

    def parse(given: str | int) -> int:  # Typer parses the default value too
        if not _WHOLE.fullmatch(str(given)):
            raise typer.BadParameter(f"{given!r} is not a whole number.")
        return _within(int(given), least, most)

    return parse


def decimal_number(least: float | None = None, most: float | None = None) -> Callable[[str | float], float]:
    """Return a parser for an option or argument that takes a number from `least` to `most`, such as 0.5."""

    def parse(given: str | float) -> float:
        if not _DECIMAL.fullmatch(str(given)):
            raise typer.BadParameter(f"{given!r} is not a number such as 0.5.")
        return _within(float(given), least, most)

    return parse


def split_numbers(text: str, parse: Callable[[str], N], option: str) -> tuple[N, ...]:
    """Read the numbers of `option`, which have commas between them, each with `parse`. An empty text has none."""
    try:
        return tuple(parse(part.strip()) for part in text.split(",")) if text.strip() else ()
    except typer.BadParameter as error:
        raise typer.BadParameter(error.message, param_hint=[option]) from None


def _within(value: N, least: N | None, most: N | None) -> N:
    if (least is not None and value < least) or (most is not None and value > most):
        allowed = f"at least {least}" if most is None else f"between {least} and {most}"
        raise typer.BadParameter(f"{value} is not {allowed}.")
    return value
