"""The suite itself: a missing program skips its tests, is listed at the end, and fails in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tools import ROOT

TEST = """
import pytest

@pytest.mark.needs("haproxy")
def test_needs_a_program() -> None:
    pass

def test_needs_nothing() -> None:
    pass
"""


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run TEST where no program can be found."""
    (folder / "test_it.py").write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.rooms", "-p", "no:cacheprovider", str(folder)]
    # The plugins that are installed beside pytest take longer to import than everything else here.
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    inherited = {name: value for name, value in os.environ.items() if name not in {"CI", "PATH"}}
    return subprocess.run(
        [*command, "-c", os.devnull, "--rootdir", str(folder)],
        env={**inherited, "PATH": str(folder), "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_missing_program_skips_and_is_listed(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 skipped" in done.stdout
    assert "not tested on this machine" in done.stdout
    assert "    1  haproxy missing: make test-setup" in done.stdout


def test_missing_program_fails_in_ci(tmp_path: Path) -> None:
    done = run(tmp_path, CI="true")
    assert done.returncode == 1
    assert "haproxy missing: make test-setup" in done.stdout
