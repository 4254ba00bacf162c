"""Results as people and programs read them: a table, JSON, JSON lines, CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from birds_client import Result
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from frontend.i18n.messages import message
from tools.cli.inputs import name_of

Record = dict[str, Any]
_COLUMNS = ("image", "rank", "bird_name", "common_name", "score", "answer", "code", "message", "model_version")
BACKGROUND = "background"  # the label of the class without a bird
_NAME_CELLS = 48  # at most, in a pipe
_NAME_SHARE = 0.45  # of the width of a terminal
_LINE_END = "\r\n"
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠].", re.DOTALL)
_ZERO = 0.005  # lower scores would be shown as 0.00

LINE_START = b'{"image": "'  # of every line that json_line makes


def json_line(item: Record) -> bytes:
    """A record as a line of UTF-8. Bytes of a file name that are not UTF-8 are escaped as JSON escapes them."""
    return json.dumps(item, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def record(result: Result) -> Record:
    """A result as an object for JSON: `image` with `predictions` or `failure`."""
    name = name_of(result.image)
    if result.failure:
        return {"image": name, "failure": asdict(result.failure)}
    predictions = [asdict(prediction) for prediction in result.predictions]
    item: Record = {"image": name, "model_version": result.model_version, "predictions": predictions}
    return item | ({"no_bird": True} if result.no_bird else {})


class JsonLines:
    """One object on each line."""

    def __init__(self, names: Sequence[str], width: int | None, language: str) -> None:
        pass  # every format takes the same arguments

    def first_lines(self) -> Iterator[str]:
        yield from ()

    def lines(self, item: Record, is_not_sure: bool = False) -> Iterator[str]:
        yield json_line(item).decode().rstrip("\n")

    def last_lines(self) -> Iterator[str]:
        yield from ()


class Json(JsonLines):
    """One array. An item is written when the next one arrives, because only then is it clear that a comma follows."""

    def __init__(self, names: Sequence[str], width: int | None, language: str) -> None:
        self._waiting: str | None = None

    def first_lines(self) -> Iterator[str]:
        yield "["

    def lines(self, item: Record, is_not_sure: bool = False) -> Iterator[str]:
        if self._waiting is not None:
            yield f"{self._waiting},"
        self._waiting = json_line(item).decode().rstrip("\n")

    def last_lines(self) -> Iterator[str]:
        if self._waiting is not None:
            yield self._waiting
        yield "]"


class Csv(JsonLines):
    """One row for each prediction; an image without predictions has one row.

    The column `answer` says how to read the rows of the image: page and command use the same words.

    A text that a spreadsheet would run as a formula gets an apostrophe in front. Image names and labels can come from
    strangers. frontend/page/static/download.js does the same.
    """

    def first_lines(self) -> Iterator[str]:
        yield ",".join(_COLUMNS)

    def lines(self, item: Record, is_not_sure: bool = False) -> Iterator[str]:
        shared = {
            "image": item["image"],
            "answer": _answer(item, is_not_sure),
            "model_version": item.get("model_version"),
        }
        for rank, prediction in enumerate(item.get("predictions", []), 1):
            yield _csv_row({**shared, "rank": rank, **prediction})
        if not item.get("predictions"):
            yield _csv_row({**shared, **item.get("failure", {})})


class Table(JsonLines):
    """Aligned columns for people. On a terminal, names are shortened so that they leave room for the species."""

    def __init__(self, names: Sequence[str], width: int | None, language: str) -> None:
        limit = max(int(width * _NAME_SHARE), 8) if width else _NAME_CELLS
        self._name_cells = min(max((cell_len(_printable(name)) for name in names), default=0), limit)
        self._width = width
        self._language = language

    def lines(self, item: Record, is_not_sure: bool = False) -> Iterator[str]:
        name = _shorten(_printable(item["image"]), self._name_cells)
        if "failure" in item:
            yield from self._wrap(name, f"{item['failure']['message']} ({item['failure']['code']})")
            return
        best, *others = item["predictions"] or [None]
        if best is None:
            yield self._row(name, "-", message("cli", "no_species", self._language))
        else:
            label = self._label(best)
            shown = message("cli", "not_sure_species", self._language, species=label) if is_not_sure else label
            yield self._row(name, f"{best['score']:.2f}", shown)
        for prediction in others:
            if prediction["score"] >= _ZERO:
                yield self._row("", f"{prediction['score']:.2f}", self._label(prediction))

    def _label(self, prediction: Record) -> str:
        common, name = prediction["common_name"], prediction["bird_name"]
        if name == BACKGROUND:
            return message("page_scripts", "no_bird", self._language)
        return f"{common} ({name})" if common else name

    def _wrap(self, name: str, text: str) -> Iterator[str]:
        """Yield the rows of a failure. Its text says what to do, so it is not cut."""
        width = self._width - cell_len(self._row("", "", "")) if self._width else cell_len(text)
        for line in Text(text).wrap(Console(), max(width, 8)):
            yield self._row(name, "-" if name else "", line.plain.rstrip())
            name = ""

    def _row(self, name: str, score: str, text: str) -> str:
        row = f"{set_cell_size(name, self._name_cells)}  {score:>4}  {_printable(text)}"
        return _cut(row, self._width) if self._width else row


FORMATS: dict[str, Callable[[Sequence[str], int | None, str], JsonLines]] = {
    "table": Table,
    "json": Json,
    "jsonl": JsonLines,
    "csv": Csv,
}


def _answer(item: Record, is_not_sure: bool) -> str:
    """Return what the column `answer` says of the image."""
    if "failure" in item:
        return "failed"
    if item.get("no_bird"):
        return "no_bird"
    if not item["predictions"]:
        return "no_match"
    return "not_sure" if is_not_sure else "identified"


def _csv_row(row: Record) -> str:
    line = io.StringIO()
    cells = {name: _disarm_formula(value) if isinstance(value, str) else value for name, value in row.items()}
    # The writer quotes a cell that contains \r or \n only if this line terminator has that character.
    csv.DictWriter(line, _COLUMNS, lineterminator=_LINE_END).writerow(cells)
    return line.getvalue().removesuffix(_LINE_END)


def _disarm_formula(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text


def _printable(text: str) -> str:
    """Replace control characters, which a terminal would obey."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _shorten(name: str, cells: int) -> str:
    """Cut out the middle: the folder at the start and the file at the end say most. Wide characters take two cells."""
    if cell_len(name) <= cells:
        return name
    end = _cut_start(name, max(cells * 2 // 3, 1))
    return f"{set_cell_size(name, max(cells - 1 - cell_len(end), 0)).rstrip()}…{end}"


def _cut_start(name: str, cells: int) -> str:
    while cell_len(name) > cells:
        name = name[1:]
    return name


def _cut(row: str, width: int) -> str:
    return row if cell_len(row) <= width else f"{set_cell_size(row, width - 1).rstrip()}…"
