"""Several worker processes: one that is killed under load is replaced, and all end without leaving anything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.image_server import ImageServer
from tests.support.images import RED, flat
from tests.support.metrics import Scraped
from tests.support.processes import alive, command_line, descendants, eventually
from tools.serve.ports import free_port
from tools.serve.triton_process import TritonServer

WORKERS = 2


class Frontend:
    """`python -m frontend` with workers, in a process group of its own."""

    def __init__(self, process: subprocess.Popen[str], url: str, log: Path, scratch: Path) -> None:
        self.process = process
        self.url = url
        self.log = log
        self.scratch = scratch

    def workers(self) -> list[int]:
        return [pid for pid in descendants(self.process.pid) if "spawn_main" in command_line(pid)]

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=10).status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def running(triton: TritonServer, folder: Path, **settings: str) -> Iterator[Frontend]:
    port, log, scratch = free_port(), folder / "frontend.log", folder / "scratch"
    scratch.mkdir()
    environment = {
        **os.environ,
        "BIRDS_PORT": str(port),
        "BIRDS_WORKERS": str(WORKERS),
        "BIRDS_TRITON_URL": triton.grpc_url,
        "BIRDS_DOWNLOAD_ALLOW_NETWORKS": "127.0.0.0/8",
        "TMPDIR": str(scratch),
        **settings,
    }
    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-m", "frontend"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        frontend = Frontend(process, f"http://127.0.0.1:{port}", log, scratch)
        try:
            assert eventually(frontend.answers), log.read_text()
            assert eventually(lambda: Scraped(frontend.url)("birds_workers") == WORKERS), log.read_text()
            yield frontend
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(60)


class Load:
    """Callers that send one request after another, each on a new connection, as many clients do."""

    def __init__(self, url: str, images: list[str], callers: int = 4) -> None:
        self.outcomes: Counter[str] = Counter()
        self._url, self._images = url, images
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(callers)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)

    def _call(self) -> None:
        while not self._stopping.is_set():
            try:
                answer = httpx.post(self._url, json={"images": self._images, "k": 1}, timeout=30)
                right = answer.status_code == 200 and len(answer.json()["successful_results"]) == len(self._images)
                self.outcomes["right" if right else f"wrong: {answer.status_code} {answer.text[:200]}"] += 1
            except httpx.TransportError:
                self.outcomes["connection lost"] += 1


def test_a_killed_worker_is_replaced(triton: TritonServer, image_server: ImageServer, tmp_path: Path) -> None:
    urls = [image_server.add(f"/{number}.png", flat(RED)) for number in range(4)]
    with running(triton, tmp_path) as frontend:
        scraped = Scraped(frontend.url)
        before = set(frontend.workers())
        assert len(before) == WORKERS
        with Load(frontend.url, urls) as load:
            assert eventually(lambda: load.outcomes["right"] > 20)
            killed = time.monotonic()
            os.kill(min(before), signal.SIGKILL)
            assert eventually(lambda: len(set(frontend.workers()) - before) == 1), frontend.log.read_text()
            assert eventually(lambda: scraped("birds_workers") == WORKERS)
            recovered_seconds = time.monotonic() - killed
            answered = load.outcomes["right"]
            assert eventually(lambda: load.outcomes["right"] > answered + 20)
        print(f"a worker killed: {dict(load.outcomes)}, {WORKERS} again after {recovered_seconds:.1f} s")
        assert set(load.outcomes) <= {"right", "connection lost"}
        assert load.outcomes["connection lost"] <= 4  # at most one request of each caller
        images = len(urls) * load.outcomes["right"]
        lost = len(urls) * load.outcomes["connection lost"]
        counted = scraped("birds_images_total", model_version="1", outcome="ok")
        assert images <= counted <= images + lost  # the counts of the killed worker are kept
        assert eventually(lambda: scraped("birds_http_requests_in_flight") == 1)
        assert scraped("birds_images_in_flight") == scraped("birds_images_queued") == 0
        assert_ends_cleanly(frontend, frontend.process.terminate)


def assert_ends_cleanly(frontend: Frontend, stop: Callable[[], None]) -> None:
    family = [frontend.process.pid, *descendants(frontend.process.pid)]
    assert list(frontend.scratch.glob("birds-metrics-*"))
    stop()
    assert frontend.process.wait(60) == 0
    assert eventually(lambda: not any(alive(pid) for pid in family))
    assert list(frontend.scratch.iterdir()) == []
    lines = [json.loads(line) for line in frontend.log.read_text().splitlines()]
    assert not [line for line in lines if "exception" in line]


def test_ctrl_c_ends_all_processes(triton: TritonServer, tmp_path: Path) -> None:
    with running(triton, tmp_path) as frontend:
        assert_ends_cleanly(
            frontend, lambda: os.killpg(frontend.process.pid, signal.SIGINT)
        )  # a terminal signals the whole group


def test_workers_end_with_a_killed_parent(triton: TritonServer, tmp_path: Path) -> None:
    with running(triton, tmp_path) as frontend:
        workers = frontend.workers()
        frontend.process.kill()
        assert eventually(lambda: not any(alive(pid) for pid in workers))


def test_zero_workers_are_refused() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "frontend"],
        env={**os.environ, "BIRDS_WORKERS": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr == "BIRDS_WORKERS: Input should be greater than or equal to 1\n"
