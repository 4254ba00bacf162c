"""Whether the service can do its work right now, asked at most once a second however often it is polled."""

from __future__ import annotations

import asyncio
import time

from frontend.inference.client import Inference

_FRESH_SECONDS = 1.0
_TIMEOUT_SECONDS = 5.0


class Readiness:
    """Remembers the outcome of a real inference for a second."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._lock = asyncio.Lock()
        self._ready = False
        self._checked_at = float("-inf")

    async def check(self) -> bool:
        async with self._lock:
            if time.monotonic() - self._checked_at > _FRESH_SECONDS:
                self._ready = await self._inference.probe(_TIMEOUT_SECONDS)
                self._checked_at = time.monotonic()
            return self._ready
