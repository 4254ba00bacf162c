"""Runs the plan: starts everything, measures in interleaved rounds, and collects the results."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import tritonclient.grpc.model_config_pb2 as model_config

from tools.measure.bench import accuracy
from tools.measure.bench.callers import Callers
from tools.measure.bench.costs import Costs
from tools.measure.bench.form import Form
from tools.measure.bench.limit import BATCHES, Limit
from tools.measure.bench.plan import CALLERS, IMAGES_PER_CALL, Plan
from tools.measure.bench.processes import Usage, usage
from tools.measure.bench.results import (
    DirectPoint,
    LimitPoint,
    LongList,
    OriginalTable,
    Repetition,
    Results,
    SingleCall,
)
from tools.measure.bench.targets import Baseline, Service, Target
from tools.measure.perf.analyzer import Load, analyze
from tools.measure.perf.binary import PerfAnalyzer
from tools.measure.perf.inputs import write_input_data
from tools.measure.photos import load_photos, numbered_photo
from tools.models.repository import savedmodel_path

_WARM_UP_SECONDS = 2
_FIRST_SECONDS = 0.1
_PAUSE_SECONDS = 0.2  # before a single call
_LIST_TIMEOUT_SECONDS = 60
_DIRECT_IMAGES_PER_SECOND = 250  # more than two cores do: perf_analyzer shall not send an image twice


class Run:
    """Everything that is up at the same time; idle servers cost nothing, so measurements can alternate freely."""

    def __init__(self, plan: Plan, forms: Sequence[Form], program: PerfAnalyzer, results: Results) -> None:
        self._plan = plan
        self._forms = forms
        self._program = program
        self._results = results
        self._photos = load_photos()
        self._direct_photo = 0

    def measure(self) -> None:
        """Fill the results, step by step; what has been measured is in them even if a later step fails."""
        with ExitStack() as stack:
            self._callers = stack.enter_context(Callers())
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="birds-bench-")))
            services = [stack.enter_context(Service(form)) for form in self._forms]
            targets: list[Target] = [stack.enter_context(Baseline()), *services]
            alone = {target.name: self._alone(target) for target in targets}
            costs = {target.name: self._started(target, alone[target.name]) for target in targets}
            for service in services:
                self._measure_accuracy(service)
            for target in targets:
                self._say(f"{target.name}: warming up")
                self._callers.timed(target, CALLERS, _WARM_UP_SECONDS)
            limits = [stack.enter_context(Limit(form, savedmodel_path())) for form in self._forms]
            for limit in limits:
                limit.images_per_second(_FIRST_SECONDS, BATCHES[0])  # waits until its engine is loaded
            for repeat in range(self._plan.repeats):
                self._sweep(targets, repeat)
                self._single_calls(targets, repeat)
                self._direct(services, repeat)
                self._limits(limits, repeat)
                self._repetition(services[0], repeat)
                self._long_list(services[0], repeat)
                if repeat == 0:
                    costs[services[0].name].look_before_growth()
            for target in (targets[0], services[0]):
                self._original_table(target)
            self._growth(services[0], costs[services[0].name])
            self._results.costs = [cost.result() for cost in costs.values()]

    def _alone(self, target: Target) -> Usage:
        """What it takes while no other target is up. Also brings its files into memory for the start that counts."""
        self._say(f"{target.name}: a first start, and some work …")
        target.start(self._callers.first_images())
        self._callers.timed(target, CALLERS, _WARM_UP_SECONDS)
        found = usage(target.pid, target.role)
        target.stop()
        return found

    def _started(self, target: Target, alone: Usage) -> Costs:
        seconds = target.start(self._callers.first_images())
        self._say(f"{target.name}: first answer {seconds:.1f} s after the command")
        costs = Costs(target, alone, seconds)
        costs.look_at_idle(self._plan.idle_seconds)
        return costs

    def _measure_accuracy(self, service: Service) -> None:
        if (expected := accuracy.references()) and service.triton:
            found = accuracy.measure(service.name, service.triton.grpc, expected)
            self._results.accuracy.append(found)
            self._say(f"{service.name}: agrees with LiteRT on {found.agreeing} of {found.photos} photos")

    def _sweep(self, targets: Sequence[Target], repeat: int) -> None:
        for concurrency in self._plan.concurrency:
            for target in targets:
                point = self._callers.load_point(target, concurrency, repeat, self._plan.seconds)
                self._results.loads.append(point)
                self._say(
                    f"{target.name}, {concurrency} callers, repeat {repeat + 1}: {point.images_per_second:.1f} "
                    f"images/s, p50 {point.p50_ms:.0f} ms, p99 {point.p99_ms:.0f} ms"
                )

    def _single_calls(self, targets: Sequence[Target], repeat: int) -> None:
        latencies = self._callers.single(targets, self._plan.single_calls, _PAUSE_SECONDS)
        for name, found in latencies.items():
            self._results.single.append(SingleCall(target=name, repeat=repeat, latencies_ms=found))
            self._say(f"{name}, single calls: {np.median(found):.0f} ms")

    def _direct(self, services: Sequence[Service], repeat: int) -> None:
        for concurrency in self._plan.direct_concurrency:
            for service in services:
                assert service.triton is not None
                path, wanted = self._folder / "photos.json", int(_DIRECT_IMAGES_PER_SECOND * self._plan.seconds)
                numbers = range(self._direct_photo, self._direct_photo + wanted)
                self._direct_photo += wanted
                write_input_data(
                    path, "IMAGE", model_config.TYPE_STRING, (numbered_photo(self._photos, n) for n in numbers)
                )
                wish = Load("birds", "concurrency", concurrency)
                found = analyze(self._program, service.triton, wish, path, self._plan.seconds)
                self._results.direct.append(
                    DirectPoint(
                        form=service.name,
                        concurrency=concurrency,
                        repeat=repeat,
                        images_per_second=found.images_per_second,
                        p50_ms=found.p50_ms,
                        p99_ms=found.p99_ms,
                        cache_hits=sum(step.cache_hits for step in found.statistics.values()),
                    )
                )
                self._say(f"{service.name}, direct, {concurrency} at once: {found.images_per_second:.1f} images/s")

    def _limits(self, limits: Sequence[Limit], repeat: int) -> None:
        for batch in BATCHES:
            for limit in limits:
                speed = limit.images_per_second(self._plan.seconds, batch)
                point = LimitPoint(form=limit.form.name, batch=batch, repeat=repeat, images_per_second=speed)
                self._results.limits.append(point)
                self._say(f"{limit.form.name}, bare processes, batches of {batch}: {speed:.1f} images/s")

    def _repetition(self, target: Target, repeat: int) -> None:
        few = len(self._photos)
        fresh = self._callers.timed(target, CALLERS, self._plan.seconds).images_per_second
        again = self._callers.timed(target, CALLERS, self._plan.seconds, few).images_per_second
        self._results.repetition.append(Repetition(target=target.name, repeat=repeat, fresh=fresh, repeated=again))
        self._say(f"{target.name}, new images {fresh:.1f} images/s, {few} images again and again {again:.1f} images/s")

    def _long_list(self, target: Target, repeat: int) -> None:
        images = self._plan.list_images
        before = usage(target.pid, target.role).memory_mb
        with _peak_memory(target) as peak:
            one = self._callers.counted(target, 1, 1, images, _LIST_TIMEOUT_SECONDS)
        short = self._callers.counted(target, CALLERS, images // IMAGES_PER_CALL, timeout_seconds=_LIST_TIMEOUT_SECONDS)
        self._results.long_lists.append(
            LongList(
                target=target.name,
                repeat=repeat,
                one_call=one.total_images / one.seconds,
                short_calls=short.total_images / short.seconds,
                growth_mb=max(peak) - before,
            )
        )
        self._say(f"{target.name}, {images} images in one call: {one.total_images / one.seconds:.1f} images/s")

    def _original_table(self, target: Target) -> None:
        result = self._callers.counted(target, CALLERS, self._plan.list_images // IMAGES_PER_CALL)
        calls = len(result.latencies_ms)
        self._results.original.append(
            OriginalTable(
                target=target.name,
                calls=calls,
                mean_ms=float(np.mean(result.latencies_ms)),
                fastest_ms=min(result.latencies_ms),
                slowest_ms=max(result.latencies_ms),
                calls_per_second=calls / result.seconds,
                total_seconds=result.seconds,
                statuses=result.statuses,
            )
        )

    def _growth(self, target: Target, costs: Costs) -> None:
        while (missing := self._plan.growth_images - costs.images_since()) > 0:
            self._say(f"{target.name}: {missing} more images, then its memory is looked at again")
            self._callers.counted(target, CALLERS, min(400, -(-missing // IMAGES_PER_CALL)))
        costs.look_after_growth()

    @staticmethod
    def _say(text: str) -> None:
        print(text, flush=True)


@contextmanager
def _peak_memory(target: Target) -> Iterator[list[float]]:
    """Megabytes, looked at once a second: each look takes some milliseconds a process."""
    seen, done = [usage(target.pid, target.role).memory_mb], threading.Event()

    def look() -> None:
        while not done.wait(1):
            seen.append(usage(target.pid, target.role).memory_mb)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
