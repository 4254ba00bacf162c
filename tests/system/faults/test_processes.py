"""A process of the service dies or freezes under load: users get documented answers, and it comes back by itself."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest

from tests.support.faults import Record, under_load
from tests.support.service import Service
from tools.measure.soak.answers import Case
from tools.measure.soak.faults import freeze

# Bounds for a busy machine, far above what is measured; figures are in docs/reliability.md.
RECOVERY_SECONDS = 90


@pytest.mark.parametrize(
    ("fault", "process", "reason"),
    [
        (
            "one of two preprocess stubs killed",
            "preprocess_0_1",
            "Triton: .*preprocess_0_1.* (has lost its process|is not healthy)",
        ),
        (
            "the classifier's stub killed",
            "classifier_0_0",
            "Triton: .*classifier_0_0.* (has lost its process|is not healthy)",
        ),
        ("Triton killed", "bin/tritonserver", "Triton: it ended with signal 9"),
        ("the frontend killed", "-m frontend", "The frontend: it ended with signal 9"),
    ],
)
def test_a_process_is_killed(
    service: Service, cases: list[Case], record: Record, fault: str, process: str, reason: str
) -> None:
    with under_load(service.url, cases) as load:
        said = len(service.lines)
        at = time.monotonic()
        os.kill(service.named(process)[0], signal.SIGKILL)
        service.wait_for(reason, since=said)
        service.wait_for("back after", since=said)
        load.wait_for_complete(50, since=at, timeout_seconds=RECOVERY_SECONDS)
    record(fault, load, at)
    if process != "-m frontend":
        assert load.verdicts()["unreachable"] == 0, "the frontend was there all the time"
    assert load.verdicts()["complete"] > 0


@pytest.mark.parametrize("seconds", [pytest.param(4, id="4 s"), pytest.param(20, id="20 s", marks=pytest.mark.slow)])
def test_triton_is_frozen(service: Service, cases: list[Case], record: Record, seconds: int) -> None:
    """A freeze of up to 10 s is waited for; after that Triton counts as dead and is replaced."""
    (triton,) = service.named("bin/tritonserver")
    with under_load(service.url, cases) as load:
        said = len(service.lines)
        at = time.monotonic()
        freeze(psutil.Process(triton), seconds)
        if seconds > 10:
            service.wait_for("Triton: no answer to /v2/health/live for 10 s", since=said)
            service.wait_for("Triton: back after", since=said)
        load.wait_for_complete(50, since=at, timeout_seconds=RECOVERY_SECONDS)
    record(f"Triton frozen for {seconds} s", load, at)
    assert (service.named("bin/tritonserver") == [triton]) == (seconds < 10)
