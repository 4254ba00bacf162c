"""Reads label files in the usual formats: text, CSV, JSON of Keras, Teachable Machine's metadata.json."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_HEADER = ("id", "name")
_MAX_BYTES = 20_000_000  # a million labels of 20 characters
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
# "0 Name", "0: Name", "0\tName", "0,Name", "0. Name", "0) Name".
_NUMBERED = re.compile(r"(\d+)(?:\s*[:,.)\t]\s*|\s+)(\S.*)", re.DOTALL)
_BULLET = re.compile(r"[-*•]\s+(\S.*)", re.DOTALL)
_WORDNET = re.compile(r"(n\d{8})(?:\s*[:,\t]\s*|\s+)(\S.*)", re.DOTALL)


def read_labels(path: Path, allow_duplicates: bool = False) -> list[str]:
    """Return the labels in the order of the model's outputs.

    Text: one per line; numbers, bullets and WordNet ids in front are removed if all lines have them. CSV: the
    columns `id` and `name`, sorted by the number in `id`, which counts from 0. JSON: a list of names; an object from
    id to name, from name to id, or from id to [WordNet id, name] (Keras' class_index.json); or an object with the list
    `labels` (Teachable Machine). The text is UTF-8, or UTF-16 with a byte order mark.

    Raises ValueError, in one line, for anything else, and for labels that are blank or cannot be shown. Equal labels
    are refused unless `allow_duplicates`.
    """
    text = _read(path)
    if path.suffix.lower() == ".json" or text.lstrip().startswith(("{", '["')):
        labels = _from_json(path, text)
    elif path.suffix.lower() == ".csv" or _is_header(text.partition("\n")[0]):
        labels = _from_csv(path, text)
    else:
        labels = _from_lines(path, text)
    _check(path, labels, allow_duplicates)
    return labels


def _read(path: Path) -> str:
    if path.is_file() and path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{path} is larger than {_MAX_BYTES // 1_000_000} MB: this is not a file of labels")
    content = path.read_bytes()
    encoding = next((encoding for mark, encoding in _BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8, or in UTF-16 with a byte order mark") from error


def _from_lines(path: Path, text: str) -> list[str]:
    """Split at line ends only. str.splitlines would also split at U+2028 and others, and shift all later labels."""
    lines = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return _without_prefixes(path, lines)


def _without_prefixes(path: Path, lines: list[str]) -> list[str]:
    """Remove the prefixes that all lines have. Numbers must count from 0 or 1; those from 0 in any order."""
    if len(lines) < 2:
        return lines
    if numbered := _matches(_NUMBERED, lines):
        numbers = [int(number) for number, _ in numbered]
        first = numbers[0]
        if first in (0, 1) and numbers == list(range(first, first + len(numbers))):
            return _without_prefixes(path, [name for _, name in numbered])
        if sorted(numbers) == list(range(len(numbers))):
            return _by_id(path, [(str(number), name) for number, (_, name) in zip(numbers, numbered, strict=True)])
        raise ValueError(
            f"{path}: every line begins with a number, but the numbers do not count from 0 or 1 without gaps: "
            "write one name per line, in the order of the model's outputs"
        )
    if wordnet := _matches(_WORDNET, lines):
        return [name for _, name in wordnet]
    if bullets := _matches(_BULLET, lines):
        return _without_prefixes(path, [name for (name,) in bullets])
    return lines


def _matches(pattern: re.Pattern[str], lines: list[str]) -> list[tuple[Any, ...]] | None:
    """The groups of `pattern` in each line, or None unless every line matches."""
    matches = [pattern.fullmatch(line) for line in lines]
    found = [match.groups() for match in matches if match]
    return found if len(found) == len(lines) else None


def _is_header(line: str) -> bool:
    return tuple(name.strip().lower() for name in line.split(",")) == _HEADER


def _from_csv(path: Path, text: str) -> list[str]:
    try:
        rows = [row for row in csv.reader(io.StringIO(text), strict=True) if row]
    except csv.Error as error:
        raise ValueError(f"{path} is not CSV: {error}") from error
    if not rows or tuple(name.strip().lower() for name in rows[0]) != _HEADER:
        raise ValueError(f"{path} does not begin with the line id,name")
    pairs = []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != 2:
            raise ValueError(f"{path}, line {number}: two columns are needed, id and name")
        pairs.append((row[0].strip(), row[1].strip()))
    return _by_id(path, pairs)


def _from_json(path: Path, text: str) -> list[str]:
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if isinstance(content, dict) and isinstance(content.get("labels"), list):  # Teachable Machine's metadata.json
        content = content["labels"]
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return [name.strip() for name in content]
    if isinstance(content, dict) and content:
        values = list(content.values())
        if all(type(value) is int for value in values):
            return _by_id(path, [(str(value), name) for name, value in content.items()])
        if all(isinstance(value, str) for value in values):
            return _by_id(path, [(key, name.strip()) for key, name in content.items()])
        if all(isinstance(value, list) and len(value) == 2 and isinstance(value[1], str) for value in values):
            return _by_id(path, [(key, value[1].strip()) for key, value in content.items()])
    raise ValueError(f"{path} is neither a list of names, nor an object from id to name or from name to id")


def _by_id(path: Path, pairs: Sequence[tuple[str, str]]) -> list[str]:
    for key, _ in pairs:
        if not (key.isascii() and key.isdecimal()) or len(key) > 9:
            raise ValueError(f"{path} has an id that is not a whole number: '{key[:40]}'")
    names = {int(key): name for key, name in pairs}
    if len(names) < len(pairs):
        twice = Counter(int(key) for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{path} has the id {twice} twice")
    missing = set(range(len(names))) - set(names)
    if missing:
        raise ValueError(f"{path} has {len(names)} ids, which should count from 0, but not the id {min(missing)}")
    return [names[number] for number in range(len(names))]


def _check(path: Path, labels: Sequence[str], allow_duplicates: bool) -> None:
    if not labels:
        raise ValueError(f"{path} has no labels")
    for number, label in enumerate(labels):
        if not label:
            raise ValueError(f"{path}: label {number} (counted from 0) is blank")
        if "\n" in label or "\r" in label:
            raise ValueError(f"{path}: label {number} (counted from 0) holds a line break")
        # Control characters and the separators U+2028 and U+2029 end a line in some programs and not in others.
        for character in label:
            if unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs"):
                raise ValueError(
                    f"{path}: label {number} (counted from 0) holds the character U+{ord(character):04X}, "
                    "which cannot be part of a name"
                )
    label, count = Counter(labels).most_common(1)[0]
    if count > 1 and not allow_duplicates:
        raise ValueError(f"{path} has the label '{label}' {count} times (if this is meant: --allow-duplicates)")
