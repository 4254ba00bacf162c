"""The faults of a soak. After each, the service has to recover by itself."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from tools.measure.soak.endings import TRITON, WORKER
from tools.measure.soak.service import Service, run_image_host

_FROZEN_SECONDS = 20
_HOST_AWAY_SECONDS = 4
_HOST_START_SECONDS = 10
_FLAPS = 4


@dataclass(frozen=True)
class Fault:
    """One fault, and what it explains.

    `cuts`: it may cut connections to the frontend, so that lost answers are expected. `ends`: the role of the process
    that it ends, or that the supervisor ends because of it.
    """

    name: str
    inject: Callable[[], None]
    cuts: bool = False
    ends: str = ""


class Faults:
    """All faults of one service, and the image host that some of them stop; use as a context manager."""

    def __init__(self, service: Service, host_port: int, seed: int) -> None:
        self._service = service
        self._host_port = host_port
        self._random = random.Random(seed)  # noqa: S311
        self._bag: list[Fault] = []
        self._over = threading.Event()

    def __enter__(self) -> Faults:
        self._host = run_image_host(self._host_port)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_host()

    def end(self) -> None:
        """Cut short the fault that is being injected."""
        self._over.set()

    def next(self) -> Fault:
        """The next fault, chosen at random. No fault is repeated before all others have been injected."""
        if not self._bag:
            self._bag = self.all()
            self._random.shuffle(self._bag)
        return self._bag.pop()

    def all(self) -> list[Fault]:
        return [
            Fault("preprocess killed", lambda: self._signal("preprocess", signal.SIGKILL), ends=TRITON),
            Fault("classifier killed", lambda: self._signal("classifier", signal.SIGKILL), ends=TRITON),
            Fault("Triton killed", lambda: self._signal("triton", signal.SIGKILL), ends=TRITON),
            Fault(f"Triton frozen for {_FROZEN_SECONDS} s", self._freeze_triton, ends=TRITON),
            Fault("a frontend worker killed", lambda: self._signal("worker", signal.SIGKILL), cuts=True, ends=WORKER),
            Fault(f"image host gone for {_HOST_AWAY_SECONDS} s", self._host_goes),
            Fault("image host flapping", self._host_flaps),
        ]

    def _signal(self, role: str, number: signal.Signals) -> None:
        processes = self._service.processes().get(role)
        if processes:  # otherwise it is being restarted
            self._random.choice(sorted(processes, key=lambda process: process.pid)).send_signal(number)

    def _freeze_triton(self) -> None:
        for process in self._service.processes().get("triton", []):
            process.send_signal(signal.SIGSTOP)
            deadline = time.monotonic() + _FROZEN_SECONDS
            while process.is_running() and time.monotonic() < deadline and not self._over.wait(0.2):
                pass
            try:
                process.send_signal(signal.SIGCONT)
            except psutil.NoSuchProcess:
                pass  # the supervisor has replaced it

    def _host_goes(self) -> None:
        self._stop_host()
        self._over.wait(_HOST_AWAY_SECONDS)
        self._start_host()

    def _host_flaps(self) -> None:
        for _ in range(_FLAPS):
            os.kill(self._host.pid, signal.SIGSTOP)
            self._over.wait(self._random.uniform(0.2, 1))
            os.kill(self._host.pid, signal.SIGCONT)
            self._over.wait(self._random.uniform(0.2, 1))
        self._host_goes()

    def _start_host(self) -> None:
        """Try until it listens: while it was down, its port may have become the local end of another connection."""
        self._host = run_image_host(self._host_port)
        deadline = time.monotonic() + _HOST_START_SECONDS
        while not listens(self._host_port) and not self._over.wait(0.1):
            if time.monotonic() > deadline:
                self._host.stop(0)
                self._host = run_image_host(self._host_port)
                deadline = time.monotonic() + _HOST_START_SECONDS

    def _stop_host(self) -> None:
        self._host.stop(0)


def listens(port: int) -> bool:
    """Whether a program accepts connections to `port`. A socket that connected to itself does not count."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            return bool(connection.getsockname() != connection.getpeername())
    except OSError:
        return False
