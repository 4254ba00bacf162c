"""The lock files can be installed from wheels alone, so users need no compiler."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import pytest

from tools import ROOT

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
UV = Path(sysconfig.get_path("scripts")) / "uv"


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_every_locked_package_has_a_wheel(lock: Path, version: str, tmp_path: Path) -> None:
    """A universal lock may pin a release that has wheels for some Python versions only. This asks the package index."""
    options = ["--dry-run", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--target", str(tmp_path)]
    asked = subprocess.run(
        [UV, "pip", "install", "--quiet", *options, "--python-version", version, "--requirement", lock],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
