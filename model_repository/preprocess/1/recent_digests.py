"""Remembers which byte strings were seen last, by their SHA-256."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict


class RecentDigests:
    """A bounded set of byte strings; the least recently used one is forgotten first. Safe to use from many threads."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._digests: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, content: bytes) -> bool:
        digest = hashlib.sha256(content).digest()
        with self._lock:
            if digest not in self._digests:
                return False
            self._digests.move_to_end(digest)
            return True

    def add(self, content: bytes) -> None:
        with self._lock:
            self._digests[hashlib.sha256(content).digest()] = None
            if len(self._digests) > self._capacity:
                self._digests.popitem(last=False)
