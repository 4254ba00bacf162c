"""Checked load on the whole service, for tests that inject faults into it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.checked_load import CheckedLoad
from tests.support.images import BLUE, GREEN, RED, flat
from tests.support.tiny_model import LABELS
from tools.measure.soak.answers import Case

REQUEST_TIMEOUT_SECONDS = 15
Record = Callable[[str, CheckedLoad, float], None]


def good_images() -> dict[str, tuple[bytes, str]]:
    """Files by name, with the bird that each shows."""
    colours = {"red": RED, "green": GREEN, "blue": BLUE}
    return {
        f"{name}-{index}.jpg": (flat(colour, "JPEG", (320, 240 + index)), label.partition(" (")[0])
        for index in range(4)
        for (name, colour), label in zip(colours.items(), LABELS, strict=False)
    }


@contextmanager
def under_load(url: str, cases: list[Case], clients: int = 8, **headers: str) -> Iterator[CheckedLoad]:
    """Yield checked load once it gets full service. At the end, no answer may have been wrong or late."""
    load = CheckedLoad(f"{url}/", cases, clients=clients, deadline_seconds=REQUEST_TIMEOUT_SECONDS, headers=headers)
    with load:
        load.wait_for_complete(20, since=time.monotonic(), timeout_seconds=180)
        yield load
    assert load.faults() == []
