"""What `birds soak` does: mixed traffic against a service of its own while parts of it are killed, frozen and cut off.

It starts the service on free ports with an image host, and records the right answers while nothing is broken. Then it
sends lists, streams, uploads and direct requests to Triton, with some clients that hang up, and injects a fault every
few seconds, in an order that the seed decides. Every answer is checked.
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

import httpx

from tools import ROOT
from tools.measure.soak.checked_load import Case
from tools.measure.soak.endings import Endings
from tools.measure.soak.faults import Fault, Faults
from tools.measure.soak.images import BAD, BAD_URLS, good_paths
from tools.measure.soak.report import Findings, Injected
from tools.measure.soak.samples import Samples
from tools.measure.soak.service import Service, SoakError
from tools.measure.soak.traffic import Traffic
from tools.serve.ports import free_port

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

    minutes: float = 20
    seed: int = 1
    clients: int = 1
    pause_seconds: float = 10
    report: Path = REPORT


class Soak:
    """One run. The clients have a thread of their own; faults are injected and samples taken from this one."""

    def __init__(self, service: Service, faults: Faults, traffic: Traffic, pause_seconds: float) -> None:
        self.samples, self.endings = Samples(), Endings()
        self.injected: list[Injected] = []
        self.interrupted = False
        self._service, self._faults, self._traffic = service, faults, traffic
        self._pause = pause_seconds
        # One thread for all faults: the kernel ends the child of a thread with that thread.
        self._injector = ThreadPoolExecutor(1)
        self._sampled_at = self._printed_at = float("-inf")
        self._on_terminal = sys.stderr.isatty()
        self._progress_seconds = _TERMINAL_PROGRESS_SECONDS if self._on_terminal else _LOG_PROGRESS_SECONDS

    def run(self, seconds: float) -> float:
        """Soak for `seconds`, or until Ctrl-C; returns the seconds that it took."""
        started = time.monotonic()
        clients = threading.Thread(target=lambda: asyncio.run(self._traffic.run()), name="traffic")
        clients.start()
        try:
            self._watch(self._pause / 2, started)
            while time.monotonic() - started < seconds:
                self._inject(self._faults.next(), started)
                self._watch(self._pause, started)
            self._take_sample()
        except KeyboardInterrupt:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # stopping takes bounded time; a second signal must not cut it
            self.interrupted = True
        finally:
            self._faults.end()
            self._injector.shutdown()
            self._traffic.stop()
            clients.join()
        return time.monotonic() - started

    def _inject(self, fault: Fault, started: float) -> None:
        self._take_sample()
        self.endings.fault(fault.name, fault.ends)
        at = time.monotonic()
        injecting = self._injector.submit(fault.inject)
        while not injecting.done():
            self._watch(0.2, started, fault.name)
        injecting.result()
        injected_at = time.monotonic()
        while not self._is_in_full_service(at if injected_at - at < 1 else injected_at):
            if time.monotonic() - injected_at > _RECOVERY_SECONDS:
                self.injected.append(Injected(fault.name, at, None, fault.cuts))
                return
            self._watch(0.2, started, fault.name)
        self.injected.append(Injected(fault.name, at, max(self._last_trouble() - at, 0), fault.cuts))

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
        processes = self._service.processes()
        self.samples.take(processes)
        self.endings.look(processes)
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
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print("Starting the service …", file=sys.stderr)
    host_port = free_port()
    with Service(_FOLDER / "serve.log") as service, Faults(service, host_port, options.seed) as faults:
        cases = learn(service, f"http://127.0.0.1:{host_port}")
        traffic = Traffic(service, cases, options.seed, options.clients)
        run = Soak(service, faults, traffic, options.pause_seconds)
        seconds = run.run(60 * options.minutes)
    findings = Findings(seconds, options.seed, traffic.answers, run.injected, run.samples, run.endings.unexplained)
    findings.judge()
    findings.write(options.report)
    print(f"\n{findings.text()}\n{options.report}")
    return 130 if run.interrupted else int(bool(findings.problems))


def learn(service: Service, host: str) -> list[Case]:
    """Ask for every good image while nothing is broken; its answers are the right ones. Raises SoakError."""
    urls = [f"{host}{path}" for path in good_paths()]
    deadline = time.monotonic() + 60
    while True:
        answer = httpx.post(f"{service.url}/", json={"images": urls, "k": 1}, timeout=60).json()
        birds = {url: entry[0]["bird_name"] for url, entry in answer["successful_results"].items()}
        if set(birds) == set(urls):
            break
        if time.monotonic() > deadline:
            raise SoakError(f"the service does not know its images: {answer['failures'][:3] or answer['errors']}")
        time.sleep(0.5)  # the image host is starting
    good = [Case(url, bird=bird) for url, bird in birds.items()]
    bad = [Case(f"{host}{path}", code=code) for path, code in BAD.items()]
    return [*good, *bad, *(Case(url, code=code) for url, code in BAD_URLS.items())]
