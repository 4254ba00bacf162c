"""The load generator and its image server, each in a process of its own."""

from __future__ import annotations

import numpy as np

from tools.errors import ToolError
from tools.measure.bench import image_server, load
from tools.measure.bench.load import LoadResult, LoadSpec
from tools.measure.bench.own_process import own_process
from tools.measure.bench.plan import CALLERS, IMAGES_PER_CALL, WARM_UP_SECONDS
from tools.measure.bench.results import SPEED
from tools.measure.bench.targets import Target
from tools.measure.image_program import start_image_program
from tools.measure.photos import PHOTO
from tools.measure.processes import usage
from tools.serve.ports import free_port
from tools.triton.statistics import between, read_statistics

_START_SECONDS = 180  # the image server enlarges photos first
_PARTS = ("queue", "input", "infer", "output")


class Callers:
    """Calls targets with URLs of photos from its own image server; use as a context manager."""

    def __enter__(self) -> Callers:
        port = free_port()
        images = start_image_program(image_server.__name__, port, seconds=_START_SECONDS)
        if images is None:
            raise ToolError("the benchmark's image server did not start")
        self._images, self._images_url = images, f"http://127.0.0.1:{port}"
        self._load = own_process()
        return self

    def __exit__(self, *_: object) -> None:
        self._load.shutdown(cancel_futures=True)
        self._images.stop(grace_seconds=5)

    def first_images(self) -> list[str]:
        """URLs for the first call that a target gets."""
        return [f"{self._images_url}/{PHOTO}/{number}.jpg" for number in range(IMAGES_PER_CALL)]

    def one_call(self, target: Target) -> LoadResult:
        return self._ask(LoadSpec(target.url, f"{self._images_url}/{PHOTO}", calls=1))

    def warm_up(self, target: Target, seconds: float) -> None:
        self._ask(LoadSpec(target.url, f"{self._images_url}/{PHOTO}", CALLERS, seconds=seconds))

    def measure(self, target: Target, concurrency: int, seconds: float, photos: str = PHOTO) -> dict[str, float]:
        """Call for `seconds`, after a short warm-up, with new images of the kind `photos`.

        Returns figures of the calls, of the processes, and of Triton's own statistics.
        """
        cpu = self._cpu_seconds(target)
        before = read_statistics(target.triton.grpc) if target.triton else {}
        images_url = f"{self._images_url}/{photos}"
        spec = LoadSpec(target.url, images_url, concurrency, seconds=seconds, warm_up_seconds=WARM_UP_SECONDS)
        result = self._ask(spec)
        steps = between(before, read_statistics(target.triton.grpc)) if target.triton else {}
        spent = {role: now - cpu.get(role, 0) for role, now in self._cpu_seconds(target).items()}
        spent["load generator"] = result.cpu_seconds
        latencies = result.latencies_ms or [0.0]
        figures = {
            SPEED: result.images_per_second,
            "p50_ms": float(np.percentile(latencies, 50)),
            "p99_ms": float(np.percentile(latencies, 99)),
            "failed_images": float(result.failed_images),
        }
        images = max(1, result.total_images)
        figures |= {f"cpu_ms/{role}": 1000 * seconds / images for role, seconds in spent.items()}
        for name in [step for step in ("preprocess", "classifier") if step in steps]:
            figures |= {f"stage_ms/{name} {part}": steps[name].per_request_ms(part) for part in _PARTS}
            figures[f"batch/{name}"] = steps[name].batch_size
        return figures

    def _ask(self, spec: LoadSpec) -> LoadResult:
        return self._load.submit(load.run, spec).result()

    def _cpu_seconds(self, target: Target) -> dict[str, float]:
        """By role. The image server is included, because all processes share the same cores."""
        return {
            **usage(target.pid, target.role, memory=False).cpu_seconds,
            **usage(self._images.pid, "image server", memory=False).cpu_seconds,
        }
