"""The key that closes Triton's control API to others: random for each start, in a file that only its owner can read."""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from tools import ROOT
from tools.errors import ToolError

KEYS = ROOT / ".cache" / "control"
_LOOPBACK = ("127.0.0.1", "localhost")


class UnreadableKey(ToolError):
    """The file of the key exists but cannot be read; the text says why and what to do."""


def create_key(http_port: int, grpc_port: int) -> tuple[str, int]:
    """Create a key for the Triton on these ports, and the file in which later commands find it.

    Returns the key and the file's descriptor. It holds a lock that says that the key is in use; close it at the end.
    """
    key = secrets.token_urlsafe(32)
    path = key_path(http_port)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)  # the key of a killed server, or another user's file
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with suppress(OSError):  # a file system without locks: other programs cannot take the key for a leftover either
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.write(descriptor, f"{key}\n{grpc_port}\n".encode())
    return key, descriptor


def remove_key(http_port: int) -> None:
    key_path(http_port).unlink(missing_ok=True)


def remove_leftover_keys() -> None:
    """Remove the keys that no running server uses."""
    for path in KEYS.glob(key_path("*").name):
        if not _is_locked(path):
            path.unlink(missing_ok=True)


def key_path(http_port: int | str, folder: Path | None = None) -> Path:
    """Return the file of the key in `folder`, by default the one of this checkout."""
    return (folder or KEYS) / f"triton-{http_port}.key"


def read_key(url: str) -> str | None:
    """Return the key of the Triton at `url` if it was started from this folder, on this machine, by this user."""
    return next(iter(_words(url)), None)


def read_grpc_url(url: str) -> str | None:
    """Return host:port of the gRPC listener of the Triton at `url`, if its key can be read."""
    words = _words(url)
    return f"{urlsplit(url).hostname}:{words[1]}" if len(words) > 1 else None


def is_key_in_use(url: str) -> bool:
    """Return whether a running program of this checkout started the Triton at `url`, which may be restarting.

    Raises UnreadableKey if the key's file cannot be read, for example because it is another user's.
    """
    if fault := key_file_fault(url):
        raise UnreadableKey(fault)
    path = _path_for(url)
    return path is not None and _is_locked(path)


def key_file_fault(url: str) -> str | None:
    """Say why the key's file cannot be read, or return None if it can be read or does not exist."""
    path = _path_for(url)
    try:
        if path is not None:
            path.open().close()
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"the control key in {path} cannot be read ({error.strerror}); use the account that started the service"
    return None


def _words(url: str) -> list[str]:
    """Return the key and the gRPC port of the Triton at `url`, or nothing if there is no file that can be read."""
    path = _path_for(url)
    try:
        return [] if path is None else path.read_text().split()
    except OSError:
        return []


def _path_for(url: str) -> Path | None:
    """Return the file for the key of the Triton at `url`, or None for another machine's Triton."""
    address = urlsplit(url)
    if address.hostname not in _LOOPBACK or address.port is None:
        return None
    return key_path(address.port)


def _is_locked(path: Path) -> bool:
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
