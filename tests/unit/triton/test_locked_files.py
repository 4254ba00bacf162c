"""Leftovers are removed once their owner is gone, and never while it lives, even in another container."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tools import ROOT
from tools.triton.locked_files import LockedFiles, remove_leftovers

KIND = "kind_"
REMOVE = """
import sys
from pathlib import Path
from tools.triton.locked_files import remove_leftovers
remove_leftovers(Path(sys.argv[1]), "kind_")
"""
OWN = """
import sys
from contextlib import closing
from pathlib import Path
from tools.triton.locked_files import LockedFiles
files = LockedFiles(Path(sys.argv[1]), "kind_")
files.path("region").touch()
files.path("folder").mkdir()
print(files.prefix, flush=True)
sys.stdin.read()
"""


def other_program(code: str, folder: Path, prefix: list[str]) -> subprocess.Popen[str]:
    command = [*prefix, sys.executable, "-c", code, str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def other_namespace() -> list[str]:
    """A command prefix for a process namespace of its own, as a container has."""
    prefix = ["unshare", "--pid", "--fork", "--mount-proc"]
    if not shutil.which("unshare") or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user cannot create process namespaces")
    return prefix


@pytest.mark.parametrize("isolated", [False, True])
def test_files_of_a_living_owner_stay(tmp_path: Path, isolated: bool) -> None:
    with closing(LockedFiles(tmp_path, KIND)) as files:
        files.path("region").touch()
        remover = other_program(REMOVE, tmp_path, other_namespace() if isolated else [])
        remover.communicate()
        assert remover.returncode == 0
        assert files.path("region").exists()


def test_files_of_a_killed_owner_are_removed(tmp_path: Path) -> None:
    with other_program(OWN, tmp_path, []) as owner:
        assert owner.stdout is not None
        prefix = owner.stdout.readline().strip()
        remove_leftovers(tmp_path, KIND)
        assert len(list(tmp_path.glob(f"{prefix}*"))) == 2
        owner.kill()
    (tmp_path / "kind_of_another_program").touch()
    remove_leftovers(tmp_path, KIND)
    assert [path.name for path in tmp_path.iterdir()] == ["kind_of_another_program"]


def test_the_lock_lasts_as_long_as_a_child(tmp_path: Path) -> None:
    files = LockedFiles(tmp_path, KIND)
    files.path("region").touch()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[files.descriptor]) as child:
        os.close(files.descriptor)
        remove_leftovers(tmp_path, KIND)
        assert files.path("region").exists()
        assert child.stdin is not None
        child.stdin.close()
    remove_leftovers(tmp_path, KIND)
    assert list(tmp_path.iterdir()) == []


def test_close_removes_everything_once(tmp_path: Path) -> None:
    files = LockedFiles(tmp_path, KIND)
    files.path("region").touch()
    files.path("folder").mkdir()
    files.close()
    files.close()
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_removed_and_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    files = LockedFiles(tmp_path, KIND)
    files.path("link").symlink_to(elsewhere)
    files.close()
    assert (elsewhere / "file").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]
