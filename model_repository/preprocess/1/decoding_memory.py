"""Keeps the memory of concurrent decodes within bounds: by agreement first, by the kernel as the last resort."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DecodingMemory:
    """A number of bytes that threads share: who needs more than is left waits until others give theirs back."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._used = 0
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, size_bytes: int) -> Iterator[None]:
        """Hold `size_bytes`. Raises MemoryError for more than there is altogether."""
        if size_bytes > self._capacity:
            raise MemoryError(f"{size_bytes} bytes are more than {self._capacity}")
        with self._changed:
            self._changed.wait_for(lambda: self._used + size_bytes <= self._capacity)
            self._used += size_bytes
        try:
            yield
        finally:
            with self._changed:
                self._used -= size_bytes
                self._changed.notify_all()


@contextmanager
def limited_memory(extra_bytes: int) -> Iterator[None]:
    """Let the kernel refuse this process more than `extra_bytes` on top of what it has now, all threads together.

    An allocation over the limit fails, in Python as a MemoryError, and the process lives on. Only for code that can
    take that: Triton's stub, while it receives a request, dies of it. Shared memory does not count.
    """
    before = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _private_bytes() + extra_bytes
    soft = limit if before[0] == resource.RLIM_INFINITY else min(limit, before[0])
    resource.setrlimit(resource.RLIMIT_DATA, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _private_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmData:"))
    return int(kilobytes) * 1024
