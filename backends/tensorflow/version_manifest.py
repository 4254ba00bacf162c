"""The manifest of a version: the SHA-256 of each of its files, and how many labels it has.

Publishing writes it. The tools check it before Triton starts, and the backend checks it again before it loads the
version. Standard library only: Triton's containers do not have the tools.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

FILE = "manifest.json"
LABELS = "labels.txt"
_SAVEDMODEL = "model.savedmodel"
_FORMAT = 1
_CHUNK_BYTES = 1 << 20


class VersionDamaged(Exception):
    """The files of a version differ from its manifest; the text names the first difference."""


@dataclass(frozen=True)
class Manifest:
    """What a version consists of.

    `files` maps each path, relative to the version's folder, to a SHA-256 in hexadecimal. `fingerprint` is the SHA-256
    of the manifest itself, and so the identity of the version: equal for two versions only if all their files are.
    """

    labels: int
    files: dict[str, str]
    fingerprint: str


def write_manifest(version: Path) -> Manifest:
    """Describe the files that are in the folder `version` now."""
    files = {path: _sha256(version / path) for path in _listed_files(version)}
    labels = count_labels(version) if LABELS in files else 0
    content = {"format": _FORMAT, "labels": labels, "files": files}
    (version / FILE).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return Manifest(labels, files, _sha256(version / FILE))


def read_manifest(version: Path) -> Manifest | None:
    """Return the manifest as it was written, or None if there is none. Raises VersionDamaged if it cannot be read."""
    try:
        content = (version / FILE).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise VersionDamaged(f"{FILE} cannot be read: {error.strerror}") from error
    try:
        fields = json.loads(content)
        files = {str(path): str(digest) for path, digest in fields["files"].items()}
        manifest = Manifest(int(fields["labels"]), files, hashlib.sha256(content).hexdigest())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise VersionDamaged(f"{FILE} is not a manifest") from error
    if fields.get("format") != _FORMAT:
        raise VersionDamaged(f"{FILE} has the format {fields.get('format')}; this release reads {_FORMAT}")
    return manifest


def check_manifest(version: Path) -> Manifest | None:
    """Compare every file of `version` with its manifest; None if it has no manifest. Raises VersionDamaged.

    Reads all files: about 2.5 s of CPU time for each GB.
    """
    manifest = read_manifest(version)
    if manifest is None:
        return None
    present = _listed_files(version)
    if missing := sorted(set(manifest.files) - set(present)):
        raise VersionDamaged(f"{missing[0]} is missing")
    # TensorFlow prefers some file names to others, so an additional file can replace the model.
    if added := sorted(path for path in set(present) - set(manifest.files) if path.startswith(f"{_SAVEDMODEL}/")):
        raise VersionDamaged(f"{added[0]} is not in {FILE}")
    for path, digest in manifest.files.items():
        try:
            actual = _sha256(version / path)
        except OSError as error:
            raise VersionDamaged(f"{path} cannot be read: {error.strerror}") from error
        if actual != digest:
            raise VersionDamaged(
                f"{path} differs from {FILE}: it was damaged or changed after the version was built "
                f"(if you changed it on purpose, delete {FILE})"
            )
    if LABELS in manifest.files and count_labels(version) != manifest.labels:
        raise VersionDamaged(f"{FILE} and {LABELS} do not have the same number of labels")
    return manifest


def count_labels(version: Path) -> int:
    """Return how many labels Triton reads from the version's labels.txt. It splits the file at line feeds only."""
    return len((version / LABELS).read_text(encoding="utf-8").removesuffix("\n").split("\n"))


def _listed_files(version: Path) -> list[str]:
    """Relative paths of the files a manifest lists: not itself, and not the hidden files of file managers and NFS."""
    # Follow links to folders: the volumes of a cluster are made of them.
    files = (Path(folder, name) for folder, _, names in os.walk(version, followlinks=True) for name in names)
    paths = (path.relative_to(version) for path in sorted(files) if path.is_file())
    return [
        path.as_posix()
        for path in paths
        if path.as_posix() != FILE and not any(part.startswith(".") for part in path.parts)
    ]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
