"""Which restarts a soak attributes to its faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.measure.soak.restarts import Restarts
from tools.measure.soak.service import FRONTEND, TRITON, WORKER

OF_TRITON = "10:15:01 Triton: it ended with signal 9. Restarting it now.\n"
OF_FRONTEND = "10:15:01 The frontend: no answer to /health/live for 15 s. Restarting it now.\n"
OF_WORKER = "INFO:     Child process [4711] died\n"


@pytest.mark.parametrize(
    ("ends", "said", "unexplained"),
    [
        pytest.param("", "10:15:02 Triton: back after 1.0 s.\n", [], id="no restart"),
        pytest.param("", OF_TRITON, [TRITON], id="Triton, and no fault ended it"),
        pytest.param("", OF_FRONTEND, [FRONTEND], id="the frontend, and no fault ended it"),
        pytest.param(WORKER, OF_WORKER, [], id="the worker that was killed"),
        pytest.param(WORKER, OF_WORKER * 2, [WORKER], id="two workers after one was killed"),
        pytest.param(WORKER, OF_WORKER + OF_TRITON, [TRITON], id="Triton besides the worker"),
        pytest.param(TRITON, OF_TRITON, [], id="Triton that was killed"),
        pytest.param(TRITON, OF_WORKER, [WORKER], id="a worker after Triton was killed"),
    ],
)
def test_fault_explains_one_restart(tmp_path: Path, ends: str, said: str, unexplained: list[str]) -> None:
    log = tmp_path / "serve.log"
    log.write_text("Ctrl-C stops everything.\n")
    restarts = Restarts(log)
    restarts.fault("a fault", ends)
    with log.open("a") as file:
        file.write(said)
    restarts.read()
    assert [line.partition(":")[0] for line in restarts.unexplained] == unexplained
    assert sum(restarts.counts.values()) == said.count("Restarting") + said.count("died")


def test_line_is_read_once_it_is_whole(tmp_path: Path) -> None:
    log = tmp_path / "serve.log"
    log.write_text(OF_TRITON[:-20])
    restarts = Restarts(log)
    restarts.read()
    assert restarts.counts[TRITON] == 0
    with log.open("a") as file:
        file.write(OF_TRITON[-20:])
    restarts.fault("the next fault", TRITON)
    assert restarts.counts[TRITON] == 1
    assert restarts.unexplained == [
        "triton: restarted after the start, which does not explain it: it ended with signal 9."
    ]
