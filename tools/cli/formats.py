"""Results as people and programs read them: a table, JSON, JSON lines, CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any, TextIO

from birds_client import Result

from tools.cli.inputs import name_of

Record = dict[str, Any]
_COLUMNS = ("image", "rank", "bird_name", "common_name", "score", "code", "message", "model_version")
_MAX_NAME_WIDTH = 48


LINE_START = b'{"image": "'  # of every line that json_line makes


def json_line(item: Record) -> bytes:
    """A record as a line of UTF-8; bytes of a file name that are none are escaped as JSON escapes them."""
    return json.dumps(item, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def record(result: Result) -> Record:
    """A result as JSON has it: `image` with `predictions` or `failure`."""
    name = name_of(result.image)
    if result.failure:
        return {"image": name, "failure": asdict(result.failure)}
    predictions = [asdict(prediction) for prediction in result.predictions]
    return {"image": name, "model_version": result.model_version, "predictions": predictions}


class JsonLines:
    """One object a line."""

    def __init__(self, out: TextIO, names: Iterable[str]) -> None:
        self._out = out

    def write(self, item: Record) -> None:
        print(json_line(item).decode(), end="", file=self._out, flush=True)

    def close(self) -> None:
        pass  # every line stands for itself


class Json:
    """One array, whose items come as they are written."""

    def __init__(self, out: TextIO, names: Iterable[str]) -> None:
        self._out = out
        self._separator = "[\n"

    def write(self, item: Record) -> None:
        print(self._separator, json_line(item).decode().rstrip(), sep="", end="", file=self._out)
        self._separator = ",\n"

    def close(self) -> None:
        print("[]" if self._separator == "[\n" else "\n]", file=self._out)


class Csv:
    """One row a prediction; an image that failed has one row."""

    def __init__(self, out: TextIO, names: Iterable[str]) -> None:
        self._rows = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
        self._rows.writeheader()

    def write(self, item: Record) -> None:
        if "failure" in item:
            self._rows.writerow({"image": item["image"], **item["failure"]})
        for rank, prediction in enumerate(item.get("predictions", []), 1):
            self._rows.writerow(
                {"image": item["image"], "rank": rank, **prediction, "model_version": item["model_version"]}
            )

    def close(self) -> None:
        pass  # no row is pending


class Table:
    """Aligned columns for the eye."""

    def __init__(self, out: TextIO, names: Iterable[str]) -> None:
        self._out = out
        self._width = min(max(map(len, names), default=0), _MAX_NAME_WIDTH)

    def write(self, item: Record) -> None:
        name = _shortened(_printable(item["image"]), self._width)
        if "failure" in item:
            self._row(name, "-", f"{item['failure']['message']} ({item['failure']['code']})")
        for prediction in item.get("predictions", []):
            common = f"{prediction['common_name']} " if prediction["common_name"] else ""
            label = f"{common}({prediction['bird_name']})" if common else prediction["bird_name"]
            self._row(name, f"{prediction['score']:.2f}", label)
            name = ""

    def _row(self, name: str, score: str, text: str) -> None:
        print(f"{name:<{self._width}}  {score:>4}  {_printable(text)}", file=self._out)

    def close(self) -> None:
        self._out.flush()


FORMATS: dict[str, Callable[[TextIO, Iterable[str]], Table | Json | JsonLines | Csv]] = {
    "table": Table,
    "json": Json,
    "jsonl": JsonLines,
    "csv": Csv,
}


def _printable(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _shortened(name: str, width: int) -> str:
    """The end of a path tells more than its start."""
    return name if len(name) <= width else "…" + name[len(name) - width + 1 :]
