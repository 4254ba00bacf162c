"""The key to Triton's control endpoints: random for each start, in a file that only its owner may read.

Beside it stands the id of the process that made it.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from tools import ROOT

KEYS = ROOT / ".cache" / "control"
_LOOPBACK = ("127.0.0.1", "localhost")


def create_key(http_port: int) -> str:
    """Make a key for the Triton on this port and leave it where tools that run later find it."""
    key = secrets.token_urlsafe(32)
    path = _path(http_port)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)  # of a server that was killed, or someone else's
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{key}\n{os.getpid()}\n")
    return key


def read_key(url: str) -> str | None:
    """The key of the Triton at `url` if it was started from this folder, on this machine, by this user."""
    address = urlsplit(url)
    if address.hostname not in _LOOPBACK or address.port is None:
        return None
    try:
        return _path(address.port).read_text().split()[0]
    except (OSError, IndexError):
        return None


def remove_leftover_keys() -> None:
    """Remove the keys of servers whose parent was killed outright."""
    for path in KEYS.glob("triton-*.key"):
        with suppress(FileNotFoundError):  # its server has just ended
            owner = path.read_text().split()[1:]
            if not owner or not Path("/proc", owner[0]).exists():
                path.unlink()


def remove_key(http_port: int) -> None:
    _path(http_port).unlink(missing_ok=True)


def _path(http_port: int) -> Path:
    return KEYS / f"triton-{http_port}.key"
