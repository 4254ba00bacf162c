"""Counts images that are damaged but classified, as a metric of Triton."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable

import triton_python_backend_utils as pb_utils
from image_limits import Damage

_NAME = "birds_damaged_images_total"


class DamagedImages:
    """One counter for each kind of damage, on Triton's metrics port.

    Each process has its own value of the label `process`: if two processes shared a metric, the first to end would
    delete it, and the server would crash when the other one counts (server #8663). Close it before the process ends: a
    metric that outlives the model crashes the process (server #8662, fixed in 26.09).
    """

    def __init__(self) -> None:
        self._family = pb_utils.MetricFamily(
            name=_NAME, description="Damaged images that were classified", kind=pb_utils.MetricFamily.COUNTER
        )
        process = str(os.getpid())
        self._counters = {kind: self._family.Metric(labels={"kind": kind.value, "process": process}) for kind in Damage}
        self._lock = threading.Lock()

    def count(self, damage: Iterable[Damage]) -> None:
        """Count one image that has each of these kinds of damage."""
        for kind in damage:
            with self._lock:
                self._counters[kind].increment(1)

    def close(self) -> None:
        self._counters.clear()
        del self._family
