"""The outside world of a measurement: the image server and the callers, each in a process of its own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from tools import ROOT
from tools.measure.bench import image_server, load
from tools.measure.bench.json_worker import JsonWorker
from tools.measure.bench.load import LoadResult, LoadSpec
from tools.measure.bench.plan import IMAGES_PER_CALL
from tools.measure.bench.processes import usage
from tools.measure.bench.results import LoadPoint
from tools.measure.bench.targets import Target
from tools.models.repository import read_config
from tools.serve.child_process import ChildProcess
from tools.serve.ports import free_port
from tools.triton.statistics import between, read_statistics

_WARM_UP_SECONDS = 0.5
_PIPELINE = [step.model_name for step in read_config("birds").ensemble_scheduling.step]
_PARTS = ("queue", "input", "infer", "output")


class Callers:
    """Calls targets with the URLs of photos that it serves itself; use as a context manager."""

    def __enter__(self) -> Callers:
        self._load = JsonWorker(load.__name__)
        port = free_port()
        command = [sys.executable, "-m", image_server.__name__, str(port)]
        self._images = ChildProcess(command, dict(os.environ), folder=ROOT)
        self._images_url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._load.__exit__()
        self._images.stop(grace_seconds=5)

    def first_images(self) -> list[str]:
        """URLs for the first call that a target gets."""
        return [f"{self._images_url}/{number}.jpg" for number in range(IMAGES_PER_CALL)]

    def timed(self, target: Target, concurrency: int, seconds: float, distinct_images: int = 0) -> LoadResult:
        """Call for `seconds`, after a short warm-up."""
        spec = LoadSpec(
            target.url,
            self._images_url,
            concurrency,
            seconds=seconds,
            warm_up_seconds=_WARM_UP_SECONDS,
            distinct_images=distinct_images,
        )
        return self._ask(spec)

    def counted(
        self,
        target: Target,
        concurrency: int,
        calls: int,
        images_per_call: int = IMAGES_PER_CALL,
        timeout_seconds: float = 10,
    ) -> LoadResult:
        """Make exactly so many calls."""
        spec = LoadSpec(
            target.url,
            self._images_url,
            concurrency,
            images_per_call,
            calls=calls,
            timeout_seconds=timeout_seconds,
        )
        return self._ask(spec)

    def single(self, targets: Sequence[Target], calls: int, pause_seconds: float) -> dict[str, list[float]]:
        """Milliseconds of single calls, taking turns."""
        latencies: dict[str, list[float]] = {target.name: [] for target in targets}
        for _ in range(calls):
            for target in targets:
                time.sleep(pause_seconds)
                latencies[target.name] += self.counted(target, 1, calls=1).latencies_ms
        return latencies

    def load_point(self, target: Target, concurrency: int, repeat: int, seconds: float) -> LoadPoint:
        """Call for `seconds`, and look at the processes and at Triton's statistics before and after."""
        cpu = self._cpu_seconds(target)
        before = read_statistics(target.triton.grpc) if target.triton else {}
        result = self.timed(target, concurrency, seconds)
        after = read_statistics(target.triton.grpc) if target.triton else {}
        spent = self._cpu_seconds(target)
        images = max(1, result.total_images)
        found = between(before, after)
        steps = {name: found[name] for name in _PIPELINE if name in found}
        latencies = result.latencies_ms or [0.0]
        return LoadPoint(
            target=target.name,
            concurrency=concurrency,
            repeat=repeat,
            images_per_second=result.images_per_second,
            p50_ms=float(np.percentile(latencies, 50)),
            p99_ms=float(np.percentile(latencies, 99)),
            mean_ms=float(np.mean(latencies)),
            statuses=result.statuses,
            failed_images=result.failed_images,
            cpu_ms={
                **{role: 1000 * (seconds - cpu.get(role, 0)) / images for role, seconds in spent.items()},
                "load generator": 1000 * result.cpu_seconds / images,
            },
            stages_ms={f"{name} {part}": step.per_request_ms(part) for name, step in steps.items() for part in _PARTS},
            batch_sizes={name: step.batch_size for name, step in steps.items()},
        )

    def _ask(self, spec: LoadSpec) -> LoadResult:
        return LoadResult(**self._load.ask(asdict(spec)))

    def _cpu_seconds(self, target: Target) -> dict[str, float]:
        """By what each process is there for; the image server among them, since all share the same cores."""
        return {
            **usage(target.pid, target.role, memory=False).cpu_seconds,
            **usage(self._images.pid, "image server", memory=False).cpu_seconds,
        }
