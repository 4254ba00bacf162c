"""The command that a report names measures the same plan again."""

from __future__ import annotations

import dataclasses

import pytest

from tools.measure.bench.command import _command
from tools.measure.bench.plan import QUICK, Plan


@pytest.mark.parametrize(
    ("plan", "command"),
    [
        (
            dataclasses.replace(Plan(), concurrency=(1, 16)),
            "birds bench --variants a,b --seconds 4 --repeats 3 --concurrency 1,16",
        ),
        (QUICK, "birds bench --quick --variants a,b --seconds 2 --repeats 1 --concurrency 1,16"),
    ],
    ids=["full", "quick"],
)
def test_recorded_command_has_all_options(plan: Plan, command: str) -> None:
    assert _command(plan, ["a", "b"]) == command
