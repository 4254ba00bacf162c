"""Finds the SavedModel in what the user names: a SavedModel, a folder around one, a zip, or a Keras file."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from tools.models.weights.first_line import first_line

_GRAPH = "saved_model.pb"
_SEARCH_DEPTH = 3  # my_model/1/model.savedmodel/saved_model.pb
_MAX_ZIP_FILES = 10_000
_MAX_ZIP_BYTES = 8 << 30  # unpacked
_CHUNK_BYTES = 1 << 20
_KERAS = (".keras", ".h5", ".hdf5")

_EXPORT_HINT = "with Keras: model.export('my_model'), and then publish that folder"
_HINTS = {
    ".tflite": "a TFLite file cannot be served: publish the model that it was converted from",
    ".onnx": "an ONNX file cannot be served: convert it to a SavedModel (onnx2tf does), and publish that folder",
    ".pt": "a PyTorch file cannot be served: export it to ONNX, convert that to a SavedModel, and publish the folder",
    ".pb": f"a frozen graph has no signature: export the model again as a SavedModel ({_EXPORT_HINT})",
    ".ckpt": f"a checkpoint holds weights without a model: load it into the model and export that ({_EXPORT_HINT})",
    ".json": f"this describes a model without its weights: export the model as a SavedModel ({_EXPORT_HINT})",
    ".tar.gz": "unpack it first, and publish the folder with saved_model.pb",
}
_HINTS |= {".pth": _HINTS[".pt"], ".index": _HINTS[".ckpt"], ".tgz": _HINTS[".tar.gz"], ".tar": _HINTS[".tar.gz"]}


def find_savedmodel(path: Path, scratch: Path) -> Path:
    """Return the folder of the SavedModel that `path` is, holds or becomes; what is unpacked goes into `scratch`.

    Raises ValueError, in one line that says what to do, if there is none, or more than one.
    """
    if path.is_dir():
        return _in_folder(path)
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    name = path.name.lower()
    if name.endswith(_KERAS):  # checked before zip, because a .keras file is a zip file
        return _export_keras(path, scratch / "exported")
    if name == _GRAPH:
        return path.parent
    if zipfile.is_zipfile(path):
        folder = scratch / "unpacked"
        unpack(path, folder)
        keras = [file for file in folder.rglob("*") if file.suffix.lower() in _KERAS]
        if len(keras) == 1 and not list(folder.rglob(_GRAPH)):
            return _export_keras(keras[0], scratch / "exported")
        return _in_folder(folder, shown=path)
    hint = next((hint for suffix, hint in _HINTS.items() if name.endswith(suffix)), None)
    raise ValueError(f"{path} is not a SavedModel: {hint or _EXPORT_HINT}")


def _in_folder(folder: Path, shown: Path | None = None) -> Path:
    shown = shown or folder
    if (folder / _GRAPH).is_file():
        return folder
    patterns = ["/".join(["*"] * depth + [_GRAPH]) for depth in range(1, _SEARCH_DEPTH + 1)]
    found = sorted(path.parent for pattern in patterns for path in folder.glob(pattern))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(path.relative_to(folder)) for path in found[:5])
        raise ValueError(f"{shown} holds {len(found)} SavedModels ({names}): name one of them")
    files = {path.name.lower() for path in folder.iterdir()}
    if keras := sorted(name for name in files if name.endswith(_KERAS)):
        raise ValueError(f"{shown} is a folder without a SavedModel: name the file {keras[0]} in it")
    hint = next((hint for suffix, hint in _HINTS.items() if any(name.endswith(suffix) for name in files)), None)
    raise ValueError(
        f"{shown} is not a SavedModel that TensorFlow can load: it has no {_GRAPH}; {hint or _EXPORT_HINT}"
    )


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip file into `folder`. Raises ValueError for one that is damaged, too large, or leads elsewhere."""
    try:
        with zipfile.ZipFile(archive) as file:
            members = [member for member in file.infolist() if not member.is_dir()]
            _require_bounded(archive, members)
            left = _MAX_ZIP_BYTES
            for member in members:
                target = folder.joinpath(*_safe_parts(archive, member))
                target.parent.mkdir(parents=True, exist_ok=True)
                with file.open(member) as source, target.open("xb") as sink:
                    while chunk := source.read(_CHUNK_BYTES):
                        left -= len(chunk)
                        if left < 0:  # the sizes in the directory of the zip were wrong
                            raise ValueError(f"{archive} unpacks to more than {_MAX_ZIP_BYTES >> 30} GB")
                        sink.write(chunk)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ValueError(f"{archive} cannot be unpacked: {first_line(error)}") from error
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f"{archive} cannot be unpacked: it holds the same name twice") from error


def _require_bounded(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > _MAX_ZIP_FILES:
        raise ValueError(f"{archive} holds more than {_MAX_ZIP_FILES} files")
    size = sum(member.file_size for member in members)
    free = shutil.disk_usage(archive.parent).free
    if size > min(_MAX_ZIP_BYTES, free):
        raise ValueError(f"{archive} unpacks to {size / 1e9:.1f} GB: more than the limit, or than the disk has left")


def _safe_parts(archive: Path, member: zipfile.ZipInfo) -> tuple[str, ...]:
    parts = PurePosixPath(member.filename.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0] or "\0" in member.filename:
        raise ValueError(f"{archive} holds a file that would be unpacked elsewhere: {member.filename!r}")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ValueError(f"{archive} holds a symbolic link: {member.filename!r}")
    return parts


def _export_keras(path: Path, target: Path) -> Path:
    if path.name.lower().endswith((".weights.h5", "_weights.h5")):
        raise ValueError(
            f"{path} holds weights without a model: load them into the model and export it, {_EXPORT_HINT}"
        )
    import keras

    try:
        model = keras.saving.load_model(str(path), compile=False, safe_mode=True)
        model.export(str(target), verbose=False)
    except Exception as error:  # Keras raises what its layers raise
        raise ValueError(
            f"Keras cannot load and export {path} ({first_line(error)}): export it yourself, {_EXPORT_HINT}"
        ) from error
    return target
