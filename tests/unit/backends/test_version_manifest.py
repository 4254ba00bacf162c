"""Every change to a version's files after its manifest was written is noticed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from version_manifest import FILE, VersionDamaged, check_manifest, read_manifest, write_manifest


@pytest.fixture
def version(tmp_path: Path) -> Path:
    folder = tmp_path / "1"
    (folder / "model.savedmodel" / "variables").mkdir(parents=True)
    (folder / "model.savedmodel" / "saved_model.pb").write_bytes(b"graph" * 50_000)
    (folder / "model.savedmodel" / "variables" / "variables.index").write_bytes(b"")
    (folder / "labels.txt").write_text("Red\nGreen\u2028Grün\nBlue\n", encoding="utf-8")
    return folder


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def test_an_unchanged_version_passes(version: Path) -> None:
    written = write_manifest(version)
    assert written.labels == 3
    assert sorted(written.files) == [
        "labels.txt",
        "model.savedmodel/saved_model.pb",
        "model.savedmodel/variables/variables.index",
    ]
    assert check_manifest(version) == read_manifest(version) == written


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "64 kB of weights": (
        lambda v: overwrite(v / "model.savedmodel" / "saved_model.pb", 100_000, b"\0" * 65536),
        "saved_model.pb differs",
    ),
    "one bit": (lambda v: overwrite(v / "model.savedmodel" / "saved_model.pb", 7, b"b"), "saved_model.pb differs"),
    "truncated": (lambda v: (v / "model.savedmodel" / "saved_model.pb").write_bytes(b"graph"), "differs"),
    "shifted labels": (lambda v: (v / "labels.txt").write_text("\nRed\nGreen\n"), "labels.txt differs"),
    "missing file": (lambda v: (v / "labels.txt").unlink(), "labels.txt is missing"),
    "missing folder": (lambda v: shutil.rmtree(v / "model.savedmodel"), "saved_model.pb is missing"),
    "another graph": (
        lambda v: (v / "model.savedmodel" / "saved_model.cpb").write_bytes(b"x"),
        "saved_model.cpb is not in manifest.json",
    ),
    "manifest that is not JSON": (lambda v: (v / FILE).write_bytes(b"\xff{"), "is not a manifest"),
    "manifest of the wrong type": (lambda v: (v / FILE).write_text("[1]"), "is not a manifest"),
    "manifest that is a folder": (
        lambda v: (v / "model.savedmodel").replace((v / FILE).rename(v / "old").with_name(FILE)),
        "cannot be read",
    ),
    "manifest of a later format": (
        lambda v: (v / FILE).write_text(json.dumps({"format": 2, "labels": 1, "files": {}})),
        "this release reads 1",
    ),
    "label count": (
        lambda v: (v / FILE).write_text((v / FILE).read_text().replace('"labels": 3', '"labels": 4')),
        "do not have the same number of labels",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_noticed(version: Path, damage: Callable[[Path], object], message: str) -> None:
    write_manifest(version)
    damage(version)
    with pytest.raises(VersionDamaged, match=message):
        check_manifest(version)


def test_the_fingerprint_changes_with_any_file(version: Path, tmp_path: Path) -> None:
    first = write_manifest(version).fingerprint
    shutil.copytree(version, tmp_path / "copy")
    assert write_manifest(tmp_path / "copy").fingerprint == first
    (version / "labels.txt").write_text("Red\nGreen\nBlau\n")
    assert write_manifest(version).fingerprint != first


def test_hidden_files_do_not_count(version: Path) -> None:
    write_manifest(version)
    (version / "model.savedmodel" / ".nfs0001").write_bytes(b"x")
    assert check_manifest(version) is not None


def test_a_version_without_a_manifest_is_not_judged(version: Path) -> None:
    assert check_manifest(version) is None
