"""The fingerprint of a version's answers: a SHA-256 of everything that decides what it answers for an image.

The frontend remembers answers under it. A number that is retired and published again with other weights, another engine
or another way of decoding must not find the answers that were given before.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from frontend import VERSION
from tools.models.repository import CLASSIFIER, PREPROCESS, Version, read_live_config


def answers_fingerprint(repository: Path, version: Version) -> str | None:
    """Return 64 hexadecimal digits for the files of `version`, and for the code and settings that it is served with.

    None for a version without a manifest: nothing identifies its files.
    """
    if version.fingerprint is None:
        return None
    digest = hashlib.sha256(f"{VERSION} {version.fingerprint}".encode())
    for path in sorted((repository / PREPROCESS / "1").glob("*.py")):
        _add(digest, path.name.encode())
        _add(digest, path.read_bytes())
    for model in (CLASSIFIER, PREPROCESS):
        if (repository / model / "config.pbtxt").exists():
            config = read_live_config(model, repository)
            for name in sorted(config.parameters):
                _add(digest, f"{model} {name} {config.parameters[name].string_value}".encode())
            _add(digest, str([group.kind for group in config.instance_group]).encode())
    return digest.hexdigest()


def _add(digest: hashlib._Hash, part: bytes) -> None:
    """Add `part` with its length in front, so that no two lists of parts look the same."""
    digest.update(len(part).to_bytes(8, "big"))
    digest.update(part)
