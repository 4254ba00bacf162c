"""Whether the service can classify right now. Triton is asked at most once a second, however often callers poll."""

from __future__ import annotations

import asyncio
import time

from frontend.inference.client import Inference

_FRESH_SECONDS = 1.0
_TIMEOUT_SECONDS = 5.0


class Readiness:
    """Remembers for one second whether a real inference succeeded."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._lock = asyncio.Lock()
        self._ready = False
        self._checked_at = float("-inf")

    async def check(self) -> bool:
        """Whether an inference succeeded within the last second, or succeeds now."""
        async with self._lock:
            if time.monotonic() - self._checked_at > _FRESH_SECONDS:
                self._ready = await self._inference.probe(_TIMEOUT_SECONDS)
                self._checked_at = time.monotonic()
            return self._ready
