"""What an image costs in CPU time, step by step, as the benchmark recorded it."""

from __future__ import annotations

from dataclasses import dataclass

from tools.measure.bench.ratios import Recorded

# Processes of the service, by where they run; whatever else a run lists is the benchmark's own.
TRITON_STEPS = ("preprocess", "classifier", "triton")
FRONTEND = "frontend"


class NotRecorded(Exception):
    """The benchmark has no figures for what is asked; the text says what there is."""


@dataclass(frozen=True)
class Costs:
    """CPU milliseconds an image of each step, in one form of the classifier, and the share of the cores in use.

    `utilisation`: of all cores, how much was in use at full load, 0 to 1. The rest is what queues and batches cost.
    """

    form: str
    cpu_ms: dict[str, float]
    utilisation: float

    @property
    def triton_ms(self) -> float:
        return sum(self.cpu_ms[step] for step in TRITON_STEPS)

    @property
    def frontend_ms(self) -> float:
        return self.cpu_ms[FRONTEND]

    def images_per_second(self, cores: float, cpu_ms: float) -> float:
        """What so many cores do of something that takes `cpu_ms` an image, at full load."""
        return cores * self.utilisation * 1000 / cpu_ms


def read_costs(recorded: Recorded, form: str) -> Costs:
    """The costs of one form. Raises NotRecorded."""
    for speed in recorded.speeds:
        if speed.form == form:
            missing = {*TRITON_STEPS, FRONTEND} - speed.cpu_ms.keys()
            if missing:
                raise NotRecorded(f"the benchmark has no CPU time of {', '.join(sorted(missing))} for {form}")
            busy = speed.images_per_second * sum(speed.cpu_ms.values()) / 1000
            return Costs(form, speed.cpu_ms, min(busy / recorded.cores, 1.0))
    known = ", ".join(speed.form for speed in recorded.speeds) or "none: run make bench"
    raise NotRecorded(f"the benchmark has no figures for {form}; it has {known}")
