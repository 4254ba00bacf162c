"""Decodes images in worker processes, each within limits of time and memory. Dead workers are replaced at once."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from decode_process import DecodeProcess, WorkerKilled, WorkersUnavailable
from image_limits import Damage, ImageRejected, PixelFormat

# Most images need less; others ask for more.
_FIRST_MEMORY_BYTES = 100_000_000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decoded:
    """uint8 pixels `[height, width, 3]`, whether the image has a profile that means sRGB, and what is wrong with it."""

    pixels: np.ndarray
    has_srgb_profile: bool
    damage: list[Damage]


class DecodingMemory:
    """The bytes that concurrent decodes share. A decode waits until all earlier ones have theirs and enough is free.

    Without this order, a large decode could wait for as long as small ones keep coming.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self._used = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, size_bytes: int) -> Iterator[None]:
        """Hold `size_bytes`, which must not be more than the capacity. A thread must not hold two at a time."""
        with self._changed:
            turn = object()
            self._waiting.append(turn)
            self._changed.wait_for(lambda: self._waiting[0] is turn and self._used + size_bytes <= self.capacity_bytes)
            self._waiting.popleft()
            self._used += size_bytes
            self._changed.notify_all()  # the next one may fit as well
        try:
            yield
        finally:
            with self._changed:
                self._used -= size_bytes
                self._changed.notify_all()


class DecodePool:
    """Worker processes, started on demand: at most one for each concurrent call of decode()."""

    def __init__(self, seconds: float, memory_bytes: int, max_bytes: int, max_pixel_bytes: int) -> None:
        """Limit each decode to `seconds` of CPU time, and all together to `memory_bytes`.

        `max_bytes` and `max_pixel_bytes` are the sizes of the largest encoded file and of the largest output.
        Raises WorkersUnavailable.
        """
        self._seconds = seconds
        self._budget = DecodingMemory(memory_bytes)
        self._region_bytes = max(max_bytes, max_pixel_bytes)
        self._idle: list[DecodeProcess] = []
        self._lock = threading.Lock()
        self._is_closed = False
        first = self._take()
        try:
            first.wait_until_ready()  # shows that workers can be started, before the first image
        except WorkersUnavailable:
            first.close()
            raise
        self._give_back(first)

    def decode(self, data: bytes, wanted: PixelFormat) -> Decoded:
        """Return the pixels of an encoded image, and what is known about its profile and damage.

        Raises ImageRejected, with the code too_expensive if time or memory do not suffice.
        """
        request = {"length": len(data), "format": asdict(wanted), "seconds": self._seconds}
        reply = self._ask_until_enough(data, request)
        if "code" in reply:
            raise ImageRejected(reply["code"], reply["reason"])
        pixels = np.frombuffer(reply["pixels"], np.uint8).reshape(wanted.height, wanted.width, 3)
        return Decoded(pixels, reply["has_srgb_profile"], [Damage(kind) for kind in reply["damage"]])

    def close(self) -> None:
        """End the workers."""
        with self._lock:
            self._is_closed = True
            workers, self._idle = self._idle, []
        for worker in workers:
            worker.close()

    def _ask_until_enough(self, data: bytes, request: dict[str, Any]) -> dict[str, Any]:
        """Grant a little memory first, and what the worker asks for afterwards."""
        granted, capacity = 0, self._budget.capacity_bytes
        needed = min(_FIRST_MEMORY_BYTES, capacity)
        while granted < needed <= capacity:
            granted = needed
            reply = self._ask(data, request, granted)
            if "needs_bytes" not in reply:
                return reply
            needed = reply["needs_bytes"] or capacity
        raise ImageRejected("too_expensive", "decoding it takes more memory than is allowed")

    def _ask(self, data: bytes, request: dict[str, Any], memory_bytes: int) -> dict[str, Any]:
        with self._budget.reserve(memory_bytes):
            for is_last in (False, True):
                worker = self._take()
                try:
                    reply = worker.decode(data, {**request, "memory_bytes": memory_bytes}, self._seconds)
                except WorkerKilled:  # from outside, perhaps by the kernel for the memory of another process
                    if is_last:
                        raise ImageRejected("too_expensive", "its decoder was killed twice") from None
                else:
                    self._give_back(worker)
                    return reply
                finally:
                    if worker.is_dead:
                        self._replace(worker)
        raise AssertionError("unreachable")

    def _take(self) -> DecodeProcess:
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        return worker or DecodeProcess(self._region_bytes)

    def _give_back(self, worker: DecodeProcess) -> None:
        with self._lock:
            if not self._is_closed:
                self._idle.append(worker)
                return
        worker.close()

    def _replace(self, dead: DecodeProcess) -> None:
        """Start another worker now, so that the next image does not wait for the whole start."""
        dead.close()
        try:
            self._give_back(DecodeProcess(self._region_bytes))
        except OSError as error:  # no process or descriptor is free now; the next image tries again
            log.warning("no decoder could be started: %s", error)
