"""A pytest plugin: runs unit, live and system tests in this order, says which it is in, and lists what it left out.

A test that is marked `needs("haproxy")` is skipped where that program is missing, and fails where CI=true.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.support.programs import missing

_ROOMS = {
    "unit": "unit: no Triton",
    "live": "live: one real Triton",
    "system": "system: processes, model builds, faults, browser",
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*programs): skipped where one of tests.support.programs is missing")
    config.pluginmanager.register(_Headings(config), "room-headings")


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers() -> int:
    """The processes of `-n auto`: two for each core, at most 8, because many unit tests wait for a deadline."""
    return min(2 * len(os.sched_getaffinity(0)), 8)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = [*_ROOMS, None]
    items.sort(key=lambda item: (order.index(_room(item.path)), not _needs_tensorflow(item)))


def _needs_tensorflow(item: pytest.Item) -> bool:
    """Whether a unit test needs TensorFlow. Processes share the tests out in order, so one of them gets these all."""
    return _room(item.path) == "unit" and "tf" in getattr(item, "fixturenames", ())


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    names = [str(name) for mark in item.iter_markers("needs") for name in mark.args]
    if lacking := missing(names) if names else []:
        reason = f"{', '.join(lacking)} missing: make test-setup"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = Counter(str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", []))
    if not reasons:
        return
    terminalreporter.section("not tested on this machine")
    terminalreporter.write_line("tests  why, and what would test it")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:5}  {reason.removeprefix('Skipped: ')}")


class _Headings:
    """Prints a heading when the run enters another room."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._current: str | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        room = _room(Path(nodeid.split("::")[0]))
        if room != self._current and room is not None and reporter is not None:
            reporter.ensure_newline()
            reporter.section(_ROOMS[room], sep="-")
        self._current = room


def _room(path: Path) -> str | None:
    """The room of a test file, by the folder below tests/."""
    parts = path.parts
    after = parts[parts.index("tests") + 1 :] if "tests" in parts else ()
    return after[0] if after and after[0] in _ROOMS else None
