"""The supervisor's decisions, on a small real process that can be made to die, freeze and fail at will."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import alive, eventually
from tools.serve import supervisor
from tools.serve.child_process import ChildProcess
from tools.serve.supervisor import Check, Keeper, Member

PROGRAM = """
import pathlib, sys, time
here = pathlib.Path(sys.argv[1])
if (here / "broken").exists():
    sys.exit(3)
(here / "ready").touch()
while True:
    (here / "beat").write_text(str(time.monotonic()))
    time.sleep(0.02)
"""


class Heart(Member):
    """A process whose heartbeat is in a file; the file `sick` makes it say that it is."""

    name = "The heart"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.starts = 0
        self.process: ChildProcess | None = None

    def start(self) -> None:
        if (self.folder / "no room").exists():
            raise OSError("no room")
        (self.folder / "ready").unlink(missing_ok=True)
        self.starts += 1
        self.process = ChildProcess([sys.executable, "-c", PROGRAM, str(self.folder)], os.environ)

    def halt(self, patience_seconds: float) -> None:
        if self.process:
            self.process.stop(0.1)

    def poll(self) -> int | None:
        return self.process.poll() if self.process else None

    def is_ready(self) -> bool:
        return (self.folder / "ready").exists()

    def failure(self) -> str:
        return "the reason"

    def checks(self) -> list[Check]:
        return [
            Check(self._sick, 5, "silence", interval_seconds=0.02),
            Check(self._beats, 0.5, "no heartbeat", interval_seconds=0.02),
        ]

    def _sick(self) -> str | None:
        return "it says so" if (self.folder / "sick").exists() else None

    def _beats(self) -> str | None:
        before = (self.folder / "beat").read_text()
        while (self.folder / "beat").read_text() == before and self.poll() is None:
            time.sleep(0.01)
        return None


class Kept:
    def __init__(self, heart: Heart) -> None:
        self.heart = heart
        self.said: list[str] = []
        self.keeper = Keeper(heart, self.said.append)

    def until(self, text: str, seconds: float = 20) -> None:
        """Tick until something with `text` has been said."""

        def said() -> bool:
            self.keeper.tick()
            return any(text in line for line in self.said)

        assert eventually(said, seconds), self.said


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    monkeypatch.setattr(supervisor, "_LONGEST_PAUSE_SECONDS", 2.0)
    heart = Heart(tmp_path)
    heart.start()
    try:
        assert eventually(heart.is_ready)
        kept = Kept(heart)
        yield kept
        kept.keeper.end()
    finally:
        heart.halt(0)


def pid(kept: Kept) -> int:
    assert kept.heart.process
    return kept.heart.process.pid


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGKILL, "it ended with signal 9"), (signal.SIGSTOP, "no heartbeat")]
)
def test_a_process_that_died_or_froze_is_started_again(kept: Kept, number: signal.Signals, reason: str) -> None:
    before = pid(kept)
    os.kill(before, number)
    kept.until("back after")
    assert kept.said[0] == f"The heart: {reason}. Starting it again now."
    assert len(kept.said) == 2
    assert not alive(before)
    assert alive(pid(kept))


def test_a_process_that_is_well_is_left_alone(kept: Kept) -> None:
    before = pid(kept)
    for _ in range(40):
        kept.keeper.tick()
        time.sleep(0.02)
    assert (kept.said, pid(kept), kept.heart.starts) == ([], before, 1)


def test_a_single_bad_answer_is_no_reason(kept: Kept) -> None:
    watch = supervisor.Watch(Check(itertools.cycle(["bad", None]).__next__, 60, "silence", interval_seconds=0.01))
    assert not eventually(lambda: watch.ailment() is not None, 0.3)
    watch.end()


def test_a_crash_loop_goes_on_with_growing_pauses_and_ends_when_its_cause_does(kept: Kept) -> None:
    (kept.heart.folder / "broken").touch()
    os.kill(pid(kept), signal.SIGKILL)
    kept.until("Starting it again in 2 s")
    assert "it ended with exit code 3 while starting: the reason. Starting it again " in kept.said[1]
    (kept.heart.folder / "broken").unlink()
    kept.until("back after")


def test_a_start_that_cannot_even_be_tried_is_tried_again(kept: Kept) -> None:
    (kept.heart.folder / "no room").touch()
    os.kill(pid(kept), signal.SIGKILL)
    kept.until("The heart: no room.")
    (kept.heart.folder / "no room").unlink()
    kept.until("back after")


def test_an_ailment_that_restarts_do_not_cure_is_left_alone_for_longer_each_time(kept: Kept) -> None:
    (kept.heart.folder / "sick").touch()
    began = time.monotonic()
    while kept.heart.starts < 4:
        kept.keeper.tick()
        time.sleep(0.02)
    assert time.monotonic() - began > 3, "the pauses were 0, 1 and 2 s"
    (kept.heart.folder / "sick").unlink()
    kept.until("back after")
