"""The load generator: clients that call a service again and again. `run` belongs in a process of its own."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass

import aiohttp

from tools.measure.bench.plan import IMAGES_PER_CALL

_FIRST_FRESH = 1_000_000  # each photo number from here on is used once

_fresh = itertools.count(_FIRST_FRESH)


@dataclass(frozen=True)
class LoadSpec:
    """What to send: calls for `seconds` after a warm-up, or exactly `calls` calls if `calls` is not 0.

    Every image is a new one: a number below `images_url`.
    """

    url: str
    images_url: str
    concurrency: int = 1
    seconds: float = 0
    warm_up_seconds: float = 0
    calls: int = 0
    timeout_seconds: float = 60


@dataclass(frozen=True)
class LoadResult:
    """What came back. `images_per_second`, `latencies_ms` and `failed_images` cover the measured time.

    `total_images` and `cpu_seconds` (of the generator itself) include the time before and after.
    """

    images_per_second: float
    latencies_ms: list[float]
    failed_images: int
    total_images: int
    cpu_seconds: float


@dataclass(frozen=True)
class _Call:
    started: float
    ended: float
    successes: int
    failures: int

    def share_within(self, start: float, end: float) -> float:
        return max(0.0, min(self.ended, end) - max(self.started, start)) / (self.ended - self.started)


def run(spec: LoadSpec) -> LoadResult:
    cpu = time.process_time()
    calls, start, end = asyncio.run(_run(spec))
    measured = [call for call in calls if start <= call.started < end]
    # A call counts by the share of its duration inside the measured time: 16 whole calls are a step of 80 images.
    images = sum(call.successes * call.share_within(start, end) for call in calls)
    return LoadResult(
        images_per_second=images / (end - start),
        latencies_ms=[round(1000 * (call.ended - call.started), 3) for call in measured],
        failed_images=sum(call.failures for call in measured),
        total_images=sum(call.successes for call in calls),
        cpu_seconds=time.process_time() - cpu,
    )


async def _run(spec: LoadSpec) -> tuple[list[_Call], float, float]:
    calls: list[_Call] = []
    start = time.perf_counter() + spec.warm_up_seconds
    end = start + spec.seconds if not spec.calls else float("inf")
    left = iter(range(spec.calls)) if spec.calls else itertools.count()
    # Calls that began in the measured time. All callers keep calling until the last of these has ended.
    open_calls = 0

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal open_calls
        for _ in left:
            if (now := time.perf_counter()) >= end and not open_calls:
                return
            counts = now < end
            open_calls += counts
            calls.append(await _call(session, spec))
            open_calls -= counts

    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=spec.timeout_seconds)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        await asyncio.gather(*(client(session) for _ in range(spec.concurrency)))
    return calls, start, min(end, max(call.ended for call in calls))


async def _call(session: aiohttp.ClientSession, spec: LoadSpec) -> _Call:
    urls = [f"{spec.images_url}/{next(_fresh)}.jpg" for _ in range(IMAGES_PER_CALL)]
    started, successes = time.perf_counter(), 0
    try:
        async with session.post(spec.url, json={"images": urls, "k": 3}) as response:
            if response.status == 200:
                successes = len((await response.json())["successful_results"])
    except (asyncio.TimeoutError, aiohttp.ClientError):
        pass  # its images count as failed
    return _Call(started, time.perf_counter(), successes, IMAGES_PER_CALL - successes)
