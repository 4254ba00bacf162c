"""Reads a JSON object step by step, so that the caller can stop at the first value that it cannot use.

`json.loads` builds the whole document first. For a body like [[],[],…] that takes 25 times the memory of the body.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

# An array or object is decoded only if the rest of the document is at most this long.
_MAX_DECODED_CHARACTERS = 65_536
_MAX_NUMBER_CHARACTERS = 100

_WHITESPACE = re.compile(r"[ \t\n\r]*")
_NUMBER_CHARACTERS = re.compile(r"[-+.eE0-9]*")
_KINDS = {
    '"': "string",
    "[": "array",
    "{": "object",
    "t": "boolean",
    "f": "boolean",
    "n": "null",
    **dict.fromkeys("-0123456789", "number"),
}


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")  # Python's json accepts NaN and Infinity by default


_decode = json.JSONDecoder(parse_constant=_reject_constant).raw_decode


class JsonTooLarge(Exception):
    """A value would take too much time or memory to decode. Nothing after it can be read."""


class JsonReader:
    """A position in a JSON text. Every method raises ValueError if the text is not JSON at that position."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def fields(self) -> Iterator[str]:
        """Yield the name of each field of the object here. Read or skip its value before you ask for the next name."""
        self._expect("{")
        if self._accept("}"):
            return
        while True:
            name = self.string()
            self._expect(":")
            yield name
            if self._accept("}"):
                return
            self._expect(",")

    def items(self) -> Iterator[None]:
        """Yield once for each item of the array here. Read or skip the item before you ask for the next one."""
        self._expect("[")
        if self._accept("]"):
            return
        while True:
            yield
            if self._accept("]"):
                return
            self._expect(",")

    def kind(self) -> str:
        """Return the JSON type of the value here, without reading it."""
        kind = _KINDS.get(self._next_character())
        if kind is None:
            raise ValueError(f"value expected at position {self._position}")
        return kind

    def string(self) -> str:
        """Read the string here."""
        if self.kind() != "string":
            raise ValueError(f"string expected at position {self._position}")
        value, self._position = _decode(self._text, self._position)
        return str(value)

    def value(self) -> Any:
        """Read the value here, of any type. Raises JsonTooLarge."""
        kind = self.kind()
        if kind == "string":
            return self.string()
        rest = len(self._text) - self._position
        if kind in ("array", "object") and rest > _MAX_DECODED_CHARACTERS:
            raise JsonTooLarge()
        if kind == "number" and self._number_length() > _MAX_NUMBER_CHARACTERS:
            raise JsonTooLarge()
        try:
            value, self._position = _decode(self._text, self._position)
        except RecursionError as error:
            raise JsonTooLarge() from error
        return value

    def end(self) -> None:
        """Check that nothing but white space follows."""
        if self._next_character():
            raise ValueError("there is text after the JSON value")

    def _number_length(self) -> int:
        match = _NUMBER_CHARACTERS.match(self._text, self._position)
        return len(match[0]) if match else 0

    def _next_character(self) -> str:
        if match := _WHITESPACE.match(self._text, self._position):
            self._position = match.end()
        return self._text[self._position : self._position + 1]

    def _accept(self, character: str) -> bool:
        if self._next_character() != character:
            return False
        self._position += 1
        return True

    def _expect(self, character: str) -> None:
        if not self._accept(character):
            raise ValueError(f"{character} expected at position {self._position}")
