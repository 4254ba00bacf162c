"""The number of cores follows the CPU affinity and the limits of control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from frontend.limits.usable_cores import usable_cores, worker_count
from frontend.settings import Settings


@pytest.fixture
def own_cgroup(tmp_path: Path) -> Path:
    """A process in the control group /pod/container below tmp_path."""
    (tmp_path / "pod" / "container").mkdir(parents=True)
    (tmp_path / "own").write_text("0::/pod/container\n")
    return tmp_path / "own"


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


@pytest.mark.parametrize(
    ("pod", "container", "cores"),
    [
        ("max 100000", "max 100000", 8),
        ("max 100000", "250000 100000", 2),
        ("300000 100000", "max 100000", 3),
        ("max 100000", "50000 100000", 1),
        ("max 100000", "1600000 100000", 8),
    ],
)
def test_smallest_limit_counts(own_cgroup: Path, pod: str, container: str, cores: int) -> None:
    (own_cgroup.parent / "pod" / "cpu.max").write_text(pod)
    (own_cgroup.parent / "pod" / "container" / "cpu.max").write_text(container)
    assert usable_cores(own_cgroup.parent, own_cgroup) == cores


def test_affinity_counts_without_control_groups(tmp_path: Path) -> None:
    assert usable_cores(tmp_path, tmp_path / "missing") == 8


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (7, 1), (8, 2), (16, 4), (64, 16), (512, 64)])
def test_one_worker_for_every_four_cores(cores: int, workers: int) -> None:
    assert worker_count(cores) == workers


def test_auto_becomes_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIRDS_WORKERS", "auto")
    assert Settings().workers == worker_count(usable_cores())
