"""Label files in common formats become names, or are refused in one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.models.weights.labels import read_labels

NAMES = ["Turdus merula", "Passer domesticus", "Pica pica"]
IMAGENET = ["n01530575", "n01531178", "n01532829"]


def text(pattern: str) -> str:
    return "".join(pattern.format(i=i, n=i + 1, w=IMAGENET[i], name=name) + "\n" for i, name in enumerate(NAMES))


@pytest.mark.parametrize(
    "pattern",
    [
        "{name}",
        "{i} {name}",
        "{i}: {name}",
        "{i}:{name}",
        "{i}\t{name}",
        "{i},{name}",
        "{i}. {name}",
        "{i}) {name}",
        "{n} {name}",
        "{n}. {name}",
        "- {name}",
        "* {name}",
        "{w} {name}",
        "{w}\t{name}",
        "{i}: {w} {name}",
        "  {name}  ",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_prefixes_that_all_lines_have_are_removed(tmp_path: Path, pattern: str, encoding: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(text(pattern).replace("\n", "\r\n").encode(encoding))
    assert read_labels(path) == NAMES


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", "id,name\n2,Pica pica\n0,Turdus merula\n1,Passer domesticus\n"),
        ("map.txt", "id,name\n2,Pica pica\n0,Turdus merula\n1,Passer domesticus\n"),
        ("labels.json", json.dumps(NAMES)),
        ("labels.json", '{"2": "Pica pica", "0": "Turdus merula", "1": "Passer domesticus"}'),
        ("labels.json", '{"Pica pica": 2, "Turdus merula": 0, "Passer domesticus": 1}'),
    ],
)
def test_labels_come_in_many_formats(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_labels(tmp_path / name) == NAMES


def test_numbered_lines_in_another_order_are_sorted(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(f"2 {NAMES[2]}\n0 {NAMES[0]}\n1 {NAMES[1]}\n\n\n")
    assert read_labels(path) == NAMES


def test_a_prefix_of_some_lines_belongs_to_the_name(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("0 errors\nPica pica\n- dash\n")
    assert read_labels(path) == ["0 errors", "Pica pica", "- dash"]


@pytest.mark.parametrize(
    "content",
    [
        NAMES,
        dict(enumerate(NAMES)),
        {name: number for number, name in enumerate(NAMES)},
        {str(i): [IMAGENET[i], name] for i, name in reversed(list(enumerate(NAMES)))},
        {"tfjsVersion": "1.7.4", "modelName": "tm-my-image-model", "labels": NAMES, "imageSize": 224},
    ],
    ids=["list", "id to name", "name to id", "Keras' class_index.json", "Teachable Machine's metadata.json"],
)
@pytest.mark.parametrize("name", ["labels.json", "labels.txt"])
def test_json(tmp_path: Path, content: object, name: str) -> None:
    path = tmp_path / name
    path.write_text(json.dumps(content))
    assert read_labels(path) == NAMES


def test_duplicates_are_allowed_on_request(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("crane\nheron\ncrane\n")
    with pytest.raises(ValueError, match=r"has the label 'crane' 2 times .* --allow-duplicates"):
        read_labels(path)
    assert read_labels(path, allow_duplicates=True) == ["crane", "heron", "crane"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\u2028b\nc\n", r"label 0 \(counted from 0\) holds the character U\+2028"),
        ("a\nb\0c\n", r"label 1 \(counted from 0\) holds the character U\+0000"),
        ("a\x85b\nc\n", r"holds the character U\+0085"),
        ("a\tb\nc\n", r"holds the character U\+0009"),
        ("a\n\nb\n", r"label 1 \(counted from 0\) is blank"),
        ("\n\n", "has no labels"),
        ("5 a\n9 b\n", "do not count from 0 or 1"),
        ("{\n", "is not JSON"),
        ("[" * 100_000, "is not a number|is not JSON|blank|has the label"),
        ('{"0": "a", "²": "b"}', "an id that is not a whole number: '²'"),
        ('{"0": true, "1": false}', "neither a list of names"),
        ('id,name\n0,"a\n1,b\n', "is not CSV"),
    ],
)
def test_impossible_names_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / ("labels.json" if content.startswith("[[") else "labels.txt")
    path.write_bytes(content.encode())
    with pytest.raises(ValueError, match=message) as refused:
        read_labels(path)
    assert "\n" not in str(refused.value)


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(b"\xff\xd8\xff\xe0 JFIF")
    with pytest.raises(ValueError, match="is not text in UTF-8"):
        read_labels(path)
