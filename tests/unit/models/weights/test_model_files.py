"""The SavedModel is found in folders and archives; other files get a hint on what to do."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.models.weights import model_files
from tools.models.weights.model_files import find_savedmodel


@pytest.fixture
def savedmodel(tmp_path: Path) -> Path:
    folder = tmp_path / "download" / "1" / "model.savedmodel"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    return folder


def zipped(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            file.writestr(name, b"graph")
    return path


def test_a_folder_around_the_savedmodel_is_enough(savedmodel: Path, tmp_path: Path) -> None:
    for path in (savedmodel, savedmodel / "saved_model.pb", savedmodel.parent, savedmodel.parents[1]):
        assert find_savedmodel(path, tmp_path) == savedmodel


def test_a_zip_is_unpacked(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "m.zip", "my/saved_model.pb", "my/variables/variables.index")
    found = find_savedmodel(archive, tmp_path / "scratch")
    assert found == tmp_path / "scratch" / "unpacked" / "my"
    assert (found / "variables" / "variables.index").read_bytes() == b"graph"


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:\\evil", "a/../../../b"])
def test_a_zip_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    archive = zipped(tmp_path / "m.zip", "saved_model.pb", name)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="would be unpacked elsewhere"):
        find_savedmodel(archive, tmp_path / "scratch")
    assert {path for path in tmp_path.rglob("*") if "scratch" not in path.parts} == before


def test_a_zip_with_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("saved_model.pb")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as file:
        file.writestr(link, "/etc/passwd")
    with pytest.raises(ValueError, match="holds a symbolic link"):
        find_savedmodel(tmp_path / "m.zip", tmp_path / "scratch")


def test_a_zip_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "_MAX_ZIP_BYTES", 9)
    archive = zipped(tmp_path / "m.zip", "saved_model.pb", "more")
    with pytest.raises(ValueError, match="more than the limit"):
        find_savedmodel(archive, tmp_path / "a")
    content = archive.read_bytes()
    size = (5).to_bytes(4, "little")
    archive.write_bytes(content[:22] + content[22:].replace(size, (1).to_bytes(4, "little")))  # a lie about the sizes
    with pytest.raises(ValueError, match=r"cannot be unpacked|unpacks to"):
        find_savedmodel(archive, tmp_path / "b")
    monkeypatch.setattr(model_files, "_MAX_ZIP_FILES", 1)
    with pytest.raises(ValueError, match=r"more than 1 files|cannot be unpacked"):
        find_savedmodel(archive, tmp_path / "c")


@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b"), ("a/b", "a")], ids=str)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_clashing_names_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="cannot be unpacked"):
        find_savedmodel(zipped(tmp_path / "m.zip", *names), tmp_path / "scratch")


def empty_file(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(b"x")
        return folder / name

    return make


def folder_with(*names: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        for name in names:
            (folder / "own" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "own" / name).write_bytes(b"x")
        return folder / "own"

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "nowhere", "nowhere does not exist"),
        (empty_file("m.tflite"), "a TFLite file cannot be served"),
        (empty_file("m.onnx"), "an ONNX file cannot be served"),
        (empty_file("m.pth"), "a PyTorch file cannot be served"),
        (empty_file("m.tar.gz"), "unpack it first"),
        (empty_file("frozen.pb"), "a frozen graph has no signature"),
        (empty_file("m.bin"), r"with Keras: model\.export\('my_model'\)"),
        (empty_file("my.weights.h5"), "holds weights without a model"),
        (folder_with("model.json", "weights.bin"), "this describes a model without its weights"),
        (folder_with("m.ckpt.index"), "a checkpoint holds weights without a model"),
        (folder_with("m.keras"), r"name the file m\.keras in it"),
        (folder_with("a/saved_model.pb", "b/saved_model.pb"), r"holds 2 SavedModels \(a, b\): name one of them"),
    ],
)
def test_other_files_get_a_hint(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        find_savedmodel(make(tmp_path), tmp_path / "scratch")
    assert "\n" not in str(refused.value)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in Keras, of NumPy 2
@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_keras_files_are_exported(tf: Any, tmp_path: Path, name: str) -> None:
    layers = tf.keras.layers
    tf.keras.Sequential([layers.Input((8, 8, 3)), layers.Flatten(), layers.Dense(2)]).save(tmp_path / name)
    found = find_savedmodel(tmp_path / name, tmp_path / "scratch")
    assert (found / "saved_model.pb").is_file()


def test_a_keras_file_that_is_damaged_is_refused(tf: Any, tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(ValueError, match=r"Keras cannot load and export .*: export it yourself, with Keras"):
        find_savedmodel(tmp_path / "m.keras", tmp_path / "scratch")
