"""Label files as people have them: a line a label, CSV with ids in any order, or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_HEADER = ("id", "name")


def read_labels(path: Path) -> list[str]:
    """Return the labels in the order of the model's outputs.

    Text: one a line. CSV: columns `id` and `name`, sorted by the number in `id`, which counts from 0. JSON: a list of
    names, or an object from id to name or from name to id. Raises ValueError, in one line, for anything else, and for
    labels that are blank or there twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text") from error
    if path.suffix.lower() == ".json":
        labels = _from_json(path, text)
    elif path.suffix.lower() == ".csv" or _is_header(text.partition("\n")[0]):
        labels = _from_csv(path, text)
    else:
        labels = [line.strip() for line in text.splitlines()]
    _check(path, labels)
    return labels


def _is_header(line: str) -> bool:
    return tuple(name.strip().lower() for name in line.split(",")) == _HEADER


def _from_csv(path: Path, text: str) -> list[str]:
    rows = list(csv.reader(io.StringIO(text)))
    if not rows or tuple(name.strip().lower() for name in rows[0]) != _HEADER:
        raise ValueError(f"{path} does not begin with the line id,name")
    pairs = []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != 2:
            raise ValueError(f"{path}, line {number}: two columns are wanted, id and name")
        pairs.append((row[0].strip(), row[1].strip()))
    return _by_id(path, pairs)


def _from_json(path: Path, text: str) -> list[str]:
    try:
        content: Any = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return [name.strip() for name in content]
    if isinstance(content, dict):
        if all(isinstance(value, int) for value in content.values()):
            return _by_id(path, [(str(value), name) for name, value in content.items()])
        if all(isinstance(value, str) for value in content.values()):
            return _by_id(path, [(key, name.strip()) for key, name in content.items()])
    raise ValueError(f"{path} is neither a list of names, nor an object from id to name or from name to id")


def _by_id(path: Path, pairs: Sequence[tuple[str, str]]) -> list[str]:
    try:
        names = {int(key): name for key, name in pairs}
    except ValueError as error:
        raise ValueError(f"{path} has an id that is no whole number: {str(error).rpartition(': ')[2]}") from error
    if len(names) < len(pairs):
        twice = Counter(int(key) for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{path} has the id {twice} twice")
    missing = set(range(len(names))) - set(names)
    if missing:
        raise ValueError(f"{path} has {len(names)} ids, which should count from 0, but not the id {min(missing)}")
    return [names[number] for number in range(len(names))]


def _check(path: Path, labels: Sequence[str]) -> None:
    if not labels:
        raise ValueError(f"{path} has no labels")
    for number, label in enumerate(labels):
        if not label:
            raise ValueError(f"{path}: label {number} (counted from 0) is blank")
        if "\n" in label or "\r" in label:
            raise ValueError(f"{path}: label {number} (counted from 0) holds a line break")
    label, count = Counter(labels).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{path} has the label '{label}' {count} times")
