"""Writes to disk that survive a power failure: bytes are flushed before the rename that makes them count."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Replace the file `path`, all of it or nothing."""
    draft = path.with_name(f".{path.name}.new")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    _flush(path.parent)


def move_folder(source: Path, target: Path) -> None:
    """Rename the folder `source` to `target` once all that is in it is on disk."""
    for folder, _, names in os.walk(source, topdown=False):
        for name in names:
            _flush(Path(folder, name))
        _flush(Path(folder))
    os.rename(source, target)
    _flush(target.parent)
    if source.parent != target.parent:
        _flush(source.parent)


def discard(path: Path) -> None:
    """Remove `path`, whether it is a file, a link, a folder, or missing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
