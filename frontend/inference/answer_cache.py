"""Remembers the rows of probabilities of images that were seen before, up to a limit in bytes.

The key holds a cryptographic hash of the image's bytes, so that nobody can make an image that gets another image's
answer, and the fingerprint of the model version: its number alone can later stand for other weights. Triton's own cache
keys by an unkeyed 64-bit hash and never compares bytes; a collision with a photo took 1.2 seconds to find.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from frontend.errors import DeadlineExceeded
from frontend.inference.scores import Row
from frontend.inference.single_flight import SingleFlight
from frontend.telemetry.metrics import CacheOutcome, Metrics

_Key = tuple[bytes, str]

# Size of the key, row object and dictionary entry of one answer, in addition to the row's own bytes.
ENTRY_OVERHEAD_BYTES = 600
# Hashing takes 0.21 ms for a typical photo of 134 kB on a CPU without SHA instructions. A thread costs about 0.1 ms and
# is worth it if hashing would block the event loop for longer.
_THREAD_BYTES = 500_000
_SHA_INSTRUCTIONS = {"sha_ni", "sha2"}  # on x86-64 and ARM


class AnswerCache:
    """Evicts the least recently used answers first. With `max_bytes` 0 nothing is remembered or shared."""

    def __init__(self, max_bytes: int, metrics: Metrics | None = None) -> None:
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._rows: OrderedDict[_Key, Row] = OrderedDict()
        self._size_bytes = 0
        self._flights: SingleFlight[_Key, Row] = SingleFlight()

    async def row(self, image: bytes, fingerprint: str, ask: Callable[[], Coroutine[Any, Any, Row]]) -> Row:
        """Return the row for `image`, from memory or from `ask`. Concurrent equal images share one call of `ask`.

        Raises what `ask` raises. A failure is not remembered. If a shared call fails only because its first caller's
        deadline passed, the others call `ask` again.
        """
        if not self._max_bytes:
            return await ask()
        key = (await _digest(image), fingerprint)
        while True:
            if (row := self._rows.get(key)) is not None:
                self._rows.move_to_end(key)
                self._count("hit")
                return row
            is_shared = key in self._flights
            self._count("shared" if is_shared else "miss")
            try:
                return await self._flights.run(key, lambda: self._ask_and_remember(key, ask))
            except DeadlineExceeded:
                if not is_shared:
                    raise

    async def _ask_and_remember(self, key: _Key, ask: Callable[[], Coroutine[Any, Any, Row]]) -> Row:
        row = await ask()
        size = row.nbytes + ENTRY_OVERHEAD_BYTES
        if size <= self._max_bytes and key not in self._rows:
            self._rows[key] = row
            self._size_bytes += size
            self._evict()
        return row

    def _evict(self) -> None:
        evictions = 0
        while self._size_bytes > self._max_bytes:
            _, row = self._rows.popitem(last=False)
            self._size_bytes -= row.nbytes + ENTRY_OVERHEAD_BYTES
            evictions += 1
        if self._metrics is not None:
            self._metrics.set_cache_size(self._size_bytes, evictions)

    def _count(self, outcome: CacheOutcome) -> None:
        if self._metrics is not None:
            self._metrics.count_cache_lookup(outcome)


async def _digest(image: bytes) -> bytes:
    if len(image) < _THREAD_BYTES:
        return _hash(image)
    return await asyncio.to_thread(_hash, image)


def _hash(image: bytes) -> bytes:
    """Return 32 bytes of SHA-256, or of BLAKE2b on a CPU without SHA instructions, where it takes 0.6 times as long."""
    return (hashlib.sha256(image) if _HAS_SHA else hashlib.blake2b(image, digest_size=32)).digest()


def _has_sha_instructions(cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    try:
        return not _SHA_INSTRUCTIONS.isdisjoint(cpu_info.read_text().split())
    except OSError:
        return False


_HAS_SHA = _has_sha_instructions()
