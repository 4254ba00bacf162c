"""What a run of the benchmark measured, as it is written to JSON and read back."""

from __future__ import annotations

import statistics

from pydantic import BaseModel

from tools.measure.bench.plan import Plan

BASELINE = "baseline"
SPEED = "images_per_second"


class Figure(BaseModel):
    """One value of one target under one load, such as `images_per_second` of the baseline with `16 callers`.

    A name with a slash belongs to a group: `cpu_ms/frontend` is the CPU time of the frontend in milliseconds per image.
    """

    target: str
    load: str
    name: str
    repeat: int
    value: float


class Results(BaseModel):
    """`variants` are the engine variants, by name; with the baseline they are the targets.

    `plan` is None in files that an earlier release wrote.
    """

    started: str
    command: str
    cpu: str
    cores: int
    system: str
    versions: dict[str, str]
    photos: str
    plan: Plan | None = None
    variants: list[str]
    figures: list[Figure] = []

    @property
    def targets(self) -> list[str]:
        return [BASELINE, *self.variants]

    @property
    def levels(self) -> dict[int, str]:
        """The loads of the sweep by their number of callers, smallest first."""
        sweep = {figure.load for figure in self.figures if figure.load.endswith(" callers")}
        return dict(sorted((int(load.split()[0]), load) for load in sweep))

    def add(self, target: str, load: str, repeat: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.figures.append(Figure(target=target, load=load, name=name, repeat=repeat, value=value))

    def loads(self, name: str) -> list[str]:
        """The loads under which the figure `name` was measured, in the order of the run."""
        return list(dict.fromkeys(figure.load for figure in self.figures if figure.name == name))

    def by_repeat(self, target: str, load: str, name: str) -> dict[int, float]:
        """The value of each repeat."""
        return {f.repeat: f.value for f in self.figures if (f.target, f.load, f.name) == (target, load, name)}

    def median(self, target: str, load: str, name: str) -> float | None:
        """The median over the repeats; None if it was not measured."""
        found = self.by_repeat(target, load, name).values()
        return statistics.median(found) if found else None

    def names(self, load: str) -> list[str]:
        """The figures that were measured under `load`, in the order of the run."""
        return list(dict.fromkeys(figure.name for figure in self.figures if figure.load == load))

    def group(self, target: str, load: str, group: str) -> dict[str, float]:
        """The medians of a group such as `cpu_ms`, by the part of the name after the slash."""
        values = {name: self.median(target, load, name) for name in self.names(load) if name.startswith(f"{group}/")}
        return {name.partition("/")[2]: value for name, value in values.items() if value is not None}
