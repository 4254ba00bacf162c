"""Writes to disk that survive a power failure: files are flushed before the rename that puts them into place."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Replace the file `path` atomically."""
    draft = path.with_name(f".{path.name}.new")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    _flush(path.parent)


def move_folder(source: Path, target: Path) -> None:
    """Flush everything in the folder `source` to disk, then rename the folder to `target`."""
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
