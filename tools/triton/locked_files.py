"""Temporary files that a later start can remove once nobody uses them. Standard library only.

Process ids in file names do not work: containers can share /dev/shm and /tmp, and the same id is another process, or
none, in each of them. A lock (flock) belongs to the file, so it works across containers, and the kernel releases it
when the last process that holds it ends.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

_LOCK_SUFFIX = ".lock"


class LockedFiles:
    """All paths in `folder` that begin with `prefix`, which no other program uses, and a locked file beside them.

    Let child processes inherit `descriptor`: the lock then lasts until they have ended too.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder
        while True:
            self.prefix = f"{kind}{secrets.token_hex(6)}_"
            self._lock = folder / f"{self.prefix.removesuffix('_')}{_LOCK_SUFFIX}"
            self.descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            # On a file system without locks, other programs cannot take the files for leftovers either.
            with suppress(OSError):
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_open_at(self.descriptor, self._lock):
                return
            os.close(self.descriptor)  # another start removed it before it was locked

    def path(self, name: str) -> Path:
        return self._folder / f"{self.prefix}{name}"

    def clear(self) -> None:
        """Remove the files; the prefix stays in use."""
        _remove_all(self._folder, self.prefix)

    def close(self) -> None:
        """Remove the files and release the prefix. May be called more than once."""
        self.clear()
        self._lock.unlink(missing_ok=True)
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def remove_leftovers(folder: Path, kind: str) -> None:
    """Remove the files of every LockedFiles in `folder` whose lock nobody holds any more."""
    for lock in folder.glob(f"{kind}*{_LOCK_SUFFIX}"):
        with suppress(OSError):  # in use, another user's, or just removed by another start
            descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_open_at(descriptor, lock):
                    _remove_all(folder, f"{lock.name.removesuffix(_LOCK_SUFFIX)}_")
                    lock.unlink()
            finally:
                os.close(descriptor)


def _remove_all(folder: Path, prefix: str) -> None:
    for path in folder.glob(f"{prefix}*"):
        with suppress(OSError):  # a file that another user has put there
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _is_open_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
