"""Gets pinned files from the cache, a mirror or the Internet, in this order. Only verified files are kept."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from frontend.download.user_agent import user_agent
from tools import ROOT
from tools.errors import ToolError

CACHE = ROOT / ".cache" / "weights"
_TIMEOUT_SECONDS = 15
_CHUNK_BYTES = 1 << 18


class FetchError(ToolError):
    """No source had the file with the right checksum; the text has the error of each."""


@dataclass(frozen=True)
class PinnedFile:
    """A file whose exact content is known."""

    name: str
    sha256: str
    url: str


def fetch(file: PinnedFile, mirror: str | None = None, cache: Path | None = None) -> Path:
    """Return the path of a verified copy of `file` in `cache` (CACHE unless given).

    `mirror` is a folder or a base URL holding `file.name`; it is tried before `file.url`.
    Raises FetchError if every source fails.
    """
    target = (cache or CACHE) / file.name
    if target.is_file() and _sha256(target) == file.sha256:
        return target
    failures = []
    for url in (*_mirror_urls(file, mirror), file.url):
        try:
            _download(url, file.sha256, target)
        except (OSError, ValueError, HTTPException) as error:
            failures.append(f"{url}: {getattr(error, 'reason', error)}")
        else:
            return target
    raise FetchError(f"could not fetch {file.name} ({'; '.join(failures)})")


def _mirror_urls(file: PinnedFile, mirror: str | None) -> list[str]:
    if not mirror:
        return []
    if "://" not in mirror:
        return [(Path(mirror).absolute() / file.name).as_uri()]
    return [f"{mirror.rstrip('/')}/{file.name}"]


def _download(url: str, sha256: str, target: Path) -> None:
    """Stream `url` to `target`, which appears only once its checksum has been verified."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    headers = {"User-Agent": user_agent(os.environ.get("BIRDS_USER_AGENT_CONTACT"))}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_SECONDS) as response:
        total = int(response.headers.get("Content-Length") or 0)
        descriptor, partial = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with open(descriptor, "wb") as sink:
                while chunk := response.read(_CHUNK_BYTES):
                    sink.write(chunk)
                    digest.update(chunk)
                    _show_progress(target.name, sink.tell(), total)
            if digest.hexdigest() != sha256:
                raise ValueError(f"checksum {digest.hexdigest()} instead of {sha256}")
            os.replace(partial, target)
        finally:
            _end_progress()
            Path(partial).unlink(missing_ok=True)


def _show_progress(name: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        of_total = f" of {total / 1e6:.1f}" if total else ""
        print(f"\r  {name}: {done / 1e6:.1f}{of_total} MB", end="", file=sys.stderr, flush=True)


def _end_progress() -> None:
    if sys.stderr.isatty():
        print(file=sys.stderr)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
