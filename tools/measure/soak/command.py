"""What `birds soak` does: mixed traffic against a service of its own while faults are injected into it.

It starts the service with an image host, and records the right answers while nothing is broken. Then it sends lists,
streams, uploads and direct requests to Triton, with some clients that hang up. Every few seconds, in an order that the
seed decides, a process is killed or frozen, images are cut off, or the classifier's version changes. Every answer is
checked.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from tools import ROOT
from tools.errors import ToolError
from tools.measure.soak.answers import Case
from tools.measure.soak.faults import Fault, Faults
from tools.measure.soak.image_host import ImageHost
from tools.measure.soak.images import BAD, BAD_URLS, good_paths, write_files
from tools.measure.soak.report import Findings, Injected
from tools.measure.soak.restarts import Restarts
from tools.measure.soak.samples import Samples
from tools.measure.soak.service import Service, SoakError
from tools.measure.soak.traffic import Traffic
from tools.measure.soak.versions import Versions

_FOLDER = ROOT / ".cache" / "soak"
REPORT = _FOLDER / "soak.json"
_SAMPLE_SECONDS = 3.0
_TERMINAL_PROGRESS_SECONDS = 1.0
_LOG_PROGRESS_SECONDS = 15.0
_FULL_SERVICE = 5  # complete answers in a row, for each of these kinds of request
_FULL_SERVICE_KINDS = ("list", "Triton gRPC")
_RECOVERY_SECONDS = 180


@dataclass(frozen=True)
class Options:
    """`seed` decides the order of the faults and the traffic; `clients` is the number of each kind."""

    minutes: float
    seed: int
    clients: int
    pause_seconds: float
    report: Path


class Soak:
    """One run. The clients have a thread of their own; faults are injected and samples taken from this one."""

    def __init__(self, service: Service, traffic: Traffic, pause_seconds: float) -> None:
        self.samples, self.restarts = Samples(), Restarts(service.log)
        self.injected: list[Injected] = []
        self.interrupted = False
        self.over = threading.Event()  # set when the faults in progress must end
        self._service, self._traffic = service, traffic
        self._pause = pause_seconds
        # One thread for all faults: the kernel kills a child process when the thread that started it ends.
        self._injector = ThreadPoolExecutor(1)
        self._sampled_at = self._printed_at = float("-inf")
        self._on_terminal = sys.stderr.isatty()
        self._progress_seconds = _TERMINAL_PROGRESS_SECONDS if self._on_terminal else _LOG_PROGRESS_SECONDS

    def run(self, faults: Faults, seconds: float) -> float:
        """Soak for `seconds`, or until Ctrl-C; returns the seconds that it took."""
        started = time.monotonic()
        clients = threading.Thread(target=lambda: asyncio.run(self._traffic.run()), name="traffic")
        clients.start()
        try:
            self._watch(self._pause / 2, started)
            while time.monotonic() - started < seconds:
                self._inject(faults.next(), started)
                self._watch(self._pause, started)
            self._take_sample()
        except KeyboardInterrupt:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # stopping takes bounded time; a second signal must not cut it
            self.interrupted = True
        finally:
            self.over.set()
            self._injector.shutdown()
            self._traffic.stop()
            clients.join()
            self.restarts.read()
        return time.monotonic() - started

    def _inject(self, fault: Fault, started: float) -> None:
        self._take_sample()
        self.restarts.fault(fault.name, fault.ends)
        at = time.monotonic()
        injecting = self._injector.submit(fault.inject)
        while not injecting.done():
            self._watch(0.2, started, fault.name)
        error = injecting.exception()
        if error and not isinstance(error, ToolError):
            raise error
        injected_at = time.monotonic()
        recovered = self._wait_for_recovery(at if injected_at - at < 1 else injected_at, started, fault.name)
        seconds = max(self._last_trouble() - at, 0) if recovered else None
        self.injected.append(Injected(fault.name, at, seconds, fault.cuts, str(error or "")))

    def _wait_for_recovery(self, since: float, started: float, fault: str) -> bool:
        """Wait for full service, in requests that were sent after `since`."""
        deadline = time.monotonic() + _RECOVERY_SECONDS
        while not self._is_in_full_service(since):
            if time.monotonic() > deadline:
                return False
            self._watch(0.2, started, fault)
        return True

    def _is_in_full_service(self, since: float) -> bool:
        answers = [(kind, a.verdict) for kind, a in list(self._traffic.answers) if a.at >= since]
        by_kind = [[verdict for name, verdict in answers if name == kind] for kind in _FULL_SERVICE_KINDS]
        return all(verdicts[-_FULL_SERVICE:] == ["complete"] * _FULL_SERVICE for verdicts in by_kind)

    def _last_trouble(self) -> float:
        answers = list(self._traffic.answers)
        kinds = _FULL_SERVICE_KINDS
        return max((a.at + a.seconds for k, a in answers if k in kinds and a.verdict != "complete"), default=0.0)

    def _watch(self, seconds: float, started: float, fault: str = "") -> None:
        """Let time pass, with a sample and a line of progress when they are due. Raises SoakError."""
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            if (code := self._service.ended()) is not None:
                raise SoakError(f"the service gave up with exit code {code}, see {self._service.log}")
            if now - self._sampled_at >= _SAMPLE_SECONDS:
                self._take_sample()
            if now - self._printed_at >= self._progress_seconds:
                self._print_progress(now - started, fault)
                self._printed_at = now
            time.sleep(0.1)

    def _take_sample(self) -> None:
        self.samples.take(self._service.processes())
        self._sampled_at = time.monotonic()

    def _print_progress(self, seconds: float, fault: str) -> None:
        verdicts = Counter(answer.verdict for _, answer in list(self._traffic.answers))
        counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
        line = f"{seconds:5.0f} s  {len(self.injected)} faults  {counts or 'no answers yet'}  {fault}"
        if self._on_terminal:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


def soak(options: Options) -> int:
    """Run it as the options say. Returns the exit code: 0, 1 with a problem, 130 if it was interrupted."""
    print("Starting the service …", file=sys.stderr)
    with (
        Service(_FOLDER) as service,
        TemporaryDirectory(prefix="birds-soak-") as images,
    ):
        write_files(Path(images))
        versions = Versions(service.repository, service.control())
        with ImageHost(Path(images)) as host:
            cases = learn(service, host, versions)
            traffic = Traffic(service, cases, options.seed, options.clients)
            run = Soak(service, traffic, options.pause_seconds)
            host.wait = run.over.wait
            seconds = run.run(Faults(service, host, versions, options.seed, run.over.wait), 60 * options.minutes)
    answers = [(kind, versions.judge(answer)) for kind, answer in traffic.answers]
    findings = Findings(seconds, options.seed, answers, run.injected, run.samples, run.restarts)
    findings.judge()
    findings.write(options.report)
    print(f"\n{findings.text()}\n{options.report}")
    return 130 if run.interrupted else int(bool(findings.problems))


def learn(service: Service, host: ImageHost, versions: Versions) -> list[Case]:
    """Ask for every good image while nothing is broken; its answers are the right ones. Raises SoakError."""
    urls = [host.url(path) for path in good_paths()]
    answer = httpx.post(f"{service.url}/", json={"images": urls, "k": 1}, timeout=60).json()
    birds = {url: entry[0]["bird_name"] for url, entry in answer["successful_results"].items()}
    if set(birds) != set(urls):
        raise SoakError(f"the service does not know its images: {answer['failures'][:3] or answer['errors']}")
    good = [Case(url, bird=bird, birds=versions.birds(bird)) for url, bird in birds.items()]
    bad = [Case(host.url(path), code=code) for path, code in BAD.items()]
    return [*good, *bad, *(Case(url, code=code) for url, code in BAD_URLS.items())]
