"""Runs the plan: starts everything, measures in interleaved rounds, and collects the results."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from tools.measure.bench import accuracy
from tools.measure.bench.callers import Callers
from tools.measure.bench.engine_variant import EngineVariant
from tools.measure.bench.limit import Limit
from tools.measure.bench.plan import BATCHES, CALLERS, CAMERA_LOAD, SINGLE_CALLS, Plan, direct_load, limit_load
from tools.measure.bench.results import SPEED, Results
from tools.measure.bench.targets import Target, run_baseline, run_service
from tools.measure.perf.analyzer import Load, Server, analyze
from tools.measure.perf.binary import PerfAnalyzer
from tools.measure.perf.inputs import Inputs
from tools.measure.photos import CAMERA, PHOTO, PHOTOS
from tools.measure.processes import usage
from tools.models.repository import savedmodel_path

_WARM_UP_SECONDS = 2
_LOADING_SECONDS = 0.1  # the first measurement of a bare process ends only once its engine is loaded
_PAUSE_SECONDS = 0.2  # before a single call
_IDLE_SECONDS = 5


class Run:
    """All servers run at the same time. Idle servers cost next to nothing, so measurements can alternate."""

    def __init__(self, plan: Plan, variants: Sequence[EngineVariant], program: PerfAnalyzer, results: Results) -> None:
        self._plan = plan
        self._variants = variants
        self._program = program
        self._results = results

    def measure(self) -> None:
        """Fill the results step by step. If a step fails, the results of the earlier steps remain."""
        with ExitStack() as stack:
            self._callers = stack.enter_context(Callers())
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="birds-bench-")))
            images = self._callers.first_images()
            targets = []
            for server in (*(run_service(variant, images) for variant in self._variants), run_baseline(images)):
                targets.append(stack.enter_context(server))
                self._costs(targets[-1])
            tritons = {target.name: target.triton for target in targets if target.triton}
            inputs = Inputs(next(iter(tritons.values())).grpc, "birds", folder, always_new=True)
            if expected := accuracy.references():
                for name, triton in tritons.items():
                    self._add(name, "LiteRT", 0, accuracy.measure(triton.grpc, expected))
            limits = [stack.enter_context(Limit(variant, savedmodel_path())) for variant in self._variants]
            for limit in limits:
                limit.images_per_second(_LOADING_SECONDS, BATCHES[0])
            for repeat in range(self._plan.repeats):
                self._end_to_end(targets, repeat)
                self._single_calls(targets, repeat)
                self._direct(tritons, inputs, repeat)
                self._limits(limits, repeat)

    def _costs(self, target: Target) -> None:
        """Measure the idle CPU of a server that has just started, and its memory after some calls."""
        time.sleep(1)  # until the work of the start is done
        before = sum(usage(target.pid, target.role, memory=False).cpu_seconds.values())
        time.sleep(_IDLE_SECONDS)
        idle = sum(usage(target.pid, target.role, memory=False).cpu_seconds.values()) - before
        self._callers.warm_up(target, _WARM_UP_SECONDS)
        found = usage(target.pid, target.role)
        costs = {
            "first_answer_seconds": target.first_answer_seconds,
            "idle_cpu_percent": 100 * idle / _IDLE_SECONDS,
            "memory_mb": found.memory_mb,
            "processes": found.processes,
        }
        self._add(target.name, "costs", 0, costs)

    def _end_to_end(self, targets: Sequence[Target], repeat: int) -> None:
        loads = [(f"{level} callers", level, PHOTO) for level in self._plan.concurrency]
        for load, concurrency, photos in [*loads, (CAMERA_LOAD, CALLERS, CAMERA)]:
            for target in targets:
                figures = self._callers.measure(target, concurrency, self._plan.seconds, photos)
                self._add(target.name, load, repeat, figures)

    def _single_calls(self, targets: Sequence[Target], repeat: int) -> None:
        latencies: dict[str, list[float]] = {target.name: [] for target in targets}
        for _ in range(self._plan.single_calls):
            for target in targets:
                time.sleep(_PAUSE_SECONDS)
                latencies[target.name] += self._callers.one_call(target).latencies_ms
        for name, found in latencies.items():
            self._add(name, SINGLE_CALLS, repeat, {"p50_ms": float(np.median(found)), "slowest_ms": max(found)})

    def _direct(self, tritons: Mapping[str, Server], inputs: Inputs, repeat: int) -> None:
        """Measure the ensemble with perf_analyzer, one image per request."""
        for concurrency in self._plan.direct_concurrency:
            load = Load("birds", "concurrency", concurrency)
            for name, triton in tritons.items():
                path = inputs.file_for(self._plan.seconds)
                found = analyze(self._program, triton, load, path, self._plan.seconds)
                self._add(name, direct_load(concurrency), repeat, {SPEED: found.images_per_second})

    def _limits(self, limits: Sequence[Limit], repeat: int) -> None:
        for photos in PHOTOS:
            for batch in BATCHES:
                for limit in limits:
                    speed = limit.images_per_second(self._plan.seconds, batch, photos)
                    self._add(limit.variant.name, limit_load(batch, photos), repeat, {SPEED: speed})

    def _add(self, target: str, load: str, repeat: int, figures: dict[str, float]) -> None:
        self._results.add(target, load, repeat, figures)
        shown = ", ".join(f"{name} {value:.3g}" for name, value in figures.items() if "/" not in name)
        print(f"{target}, {load}, repeat {repeat + 1}: {shown}", flush=True)
