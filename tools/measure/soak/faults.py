"""The faults of a soak. After each, the service has to recover by itself."""

from __future__ import annotations

import random
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil

from tools.measure.soak.image_host import ImageHost
from tools.measure.soak.service import TRITON, WORKER, Service
from tools.measure.soak.versions import Versions
from tools.triton.running_stubs import instance_of

_FROZEN_SECONDS = 20
_HOST_AWAY_SECONDS = 4
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
    """All faults of one service, its image host and its versions. `wait` waits, and returns True if faults must end."""

    def __init__(
        self, service: Service, host: ImageHost, versions: Versions, seed: int, wait: Callable[[float], object]
    ) -> None:
        self._service = service
        self._host = host
        self._versions = versions
        self._random = random.Random(seed)  # noqa: S311
        self._wait = wait
        self._round: deque[Fault] = deque()

    def next(self) -> Fault:
        """The next fault, at random. No fault is repeated before all others have been injected.

        The changes of the version keep their order, with other faults between them.
        """
        if not self._round:
            changes = self._changes()
            order: list[Fault | None] = [*self._breaks(), *[None] * len(changes)]
            self._random.shuffle(order)
            self._round.extend(fault or changes.popleft() for fault in order)
        return self._round.popleft()

    def _breaks(self) -> list[Fault]:
        return [
            Fault("preprocess killed", lambda: self._kill("preprocess"), ends=TRITON),
            Fault("classifier killed", lambda: self._kill("classifier"), ends=TRITON),
            Fault("Triton killed", lambda: self._kill(TRITON), ends=TRITON),
            Fault(f"Triton frozen for {_FROZEN_SECONDS} s", self._freeze_triton, ends=TRITON),
            Fault("a frontend worker killed", lambda: self._kill(WORKER), cuts=True, ends=WORKER),
            Fault(f"image host gone for {_HOST_AWAY_SECONDS} s", lambda: self._host.go_away(_HOST_AWAY_SECONDS)),
            Fault("image host flapping", lambda: self._host.flap(_FLAPS)),
        ]

    def _changes(self) -> deque[Fault]:
        return deque(
            [
                Fault("a version published", self._versions.publish),
                Fault("a version rolled back", self._versions.roll_back),
                Fault("a version retired", self._versions.retire),
            ]
        )

    def _kill(self, role: str) -> None:
        with suppress(psutil.NoSuchProcess):  # it is being restarted
            processes = self._service.processes()[role]
            if role not in (TRITON, WORKER):  # a model's stub, not one of the decode workers that it starts
                processes = [process for process in processes if instance_of(process.cmdline())]
            if processes:
                self._random.choice(processes).kill()

    def _freeze_triton(self) -> None:
        for process in self._service.processes()[TRITON]:
            freeze(process, _FROZEN_SECONDS, self._wait)


def freeze(process: psutil.Process, seconds: float, wait: Callable[[float], object] = time.sleep) -> None:
    """Stop a process for `seconds`, or until it is killed, and let it continue."""
    process.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + seconds
    while process.is_running() and time.monotonic() < deadline and not wait(0.2):
        pass
    try:
        process.send_signal(signal.SIGCONT)
    except psutil.NoSuchProcess:
        pass  # it was replaced meanwhile
