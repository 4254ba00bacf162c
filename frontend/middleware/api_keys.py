"""API keys: what they look like, where they stand, and whether a request bears one."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import SecretStr

from frontend.errors import Unauthorized

_KEY = re.compile(r"[\x21-\x7e]+")  # what a header can carry as one word
_SCHEME = "bearer"


class ApiKeys:
    """The keys that are accepted, as digests; false if there are none, and everybody may ask."""

    def __init__(self, keys: Iterable[SecretStr]) -> None:
        self._digests = [hashlib.sha256(key.get_secret_value().encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def bearer(self, authorization: str) -> str:
        """A name for the key in an Authorization header, from which nobody learns the key. Raises Unauthorized.

        How long it takes tells nothing of the keys: digests are compared, in constant time, and always with all.
        """
        scheme, _, key = authorization.partition(" ")
        digest = hashlib.sha256(key.strip().encode()).digest()
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        if scheme.lower() != _SCHEME or not any(matches):
            raise Unauthorized()
        return digest.hex()

    def accept(self, authorization: str) -> bool:
        """Whether an Authorization header bears one of the keys."""
        try:
            self.bearer(authorization)
        except Unauthorized:
            return False
        return True


def checked_key(key: SecretStr) -> SecretStr:
    """Raises ValueError, without the key, unless a header can carry it."""
    if not _KEY.fullmatch(key.get_secret_value()):
        raise ValueError("a key is one word of ASCII characters")
    return key


def keys_in(path: Path) -> list[SecretStr]:
    """The keys in a file, one a line; empty lines and those that begin with # do not count. Raises ValueError."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise ValueError(f"the file cannot be read: {reason}") from error
    keys = [checked_key(SecretStr(line)) for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ValueError("there is no key in the file")
    return keys
