"""What a server costs beside time: how long it takes to start, what it takes while idle, how its memory grows."""

from __future__ import annotations

import time

from tools.measure.bench.processes import Usage, libraries_of, usage
from tools.measure.bench.results import Cost
from tools.measure.bench.targets import Target
from tools.triton.statistics import read_statistics

_SETTLE_SECONDS = 1  # after the first answer, for what starting up has left to do


class Costs:
    """Looks at one running target at the right moments.

    `alone` is its usage after some work while no other target was up: pages shared with another would count half.
    """

    def __init__(self, target: Target, alone: Usage, first_answer_seconds: float) -> None:
        self._target = target
        self._alone = alone
        self._first_answer_seconds = first_answer_seconds
        self._idle_cpu_percent = 0.0
        self._memory_before = self._memory_after = 0.0
        self._images_before = self._images_after = 0

    def look_at_idle(self, seconds: float) -> None:
        time.sleep(_SETTLE_SECONDS)
        before = sum(usage(self._target.pid, self._target.role, memory=False).cpu_seconds.values())
        time.sleep(seconds)
        after = sum(usage(self._target.pid, self._target.role, memory=False).cpu_seconds.values())
        self._idle_cpu_percent = 100 * (after - before) / seconds

    def look_before_growth(self) -> None:
        """To be called when every kind of work has been done, so that nothing is allocated for the first time later."""
        self._memory_before = self._memory_after = usage(self._target.pid, self._target.role).memory_mb
        self._images_before = self._images_after = self._images()

    def images_since(self) -> int:
        return self._images() - self._images_before

    def look_after_growth(self) -> None:
        self._memory_after = usage(self._target.pid, self._target.role).memory_mb
        self._images_after = self._images()

    def result(self) -> Cost:
        return Cost(
            target=self._target.name,
            first_answer_seconds=self._first_answer_seconds,
            processes=self._alone.processes,
            memory_mb=self._alone.memory_mb,
            idle_cpu_percent=self._idle_cpu_percent,
            growth_mb=self._memory_after - self._memory_before,
            growth_images=self._images_after - self._images_before,
            imports_tensorflow=any("libtensorflow" in path for path in libraries_of(self._target.pid)),
        )

    def _images(self) -> int:
        assert self._target.triton is not None
        counts = read_statistics(self._target.triton.grpc)
        return sum(
            count.inferences for model, count in counts.items() if model.startswith("birds")
        )  # with its versions
