"""Where Triton's files go, and what its environment is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools.serve import triton_layout
from tools.serve.triton_layout import TritonError, scratch_parent, triton_environment


def test_triton_does_not_get_the_api_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIRDS_API_KEYS", "key")
    assert "BIRDS_API_KEYS" not in triton_environment(tmp_path, tmp_path)


def test_models_learn_the_number_of_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_layout, "usable_cores", lambda: 3)
    assert triton_environment(tmp_path, tmp_path)["BIRDS_USABLE_CORES"] == "3"


@pytest.mark.parametrize("language", ["C", "de_DE.ISO-8859-15", "POSIX"])
def test_programs_of_stubs_use_utf_8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str) -> None:
    monkeypatch.setenv("LC_ALL", language)
    assert triton_environment(tmp_path, tmp_path)["LC_ALL"] == "C.UTF-8"


def test_a_folder_mounted_noexec_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert scratch_parent() == tmp_path
    assert not caplog.messages
    monkeypatch.setattr(triton_layout, "_can_run_programs", lambda folder: folder == Path("/var/tmp"))
    assert scratch_parent() == Path("/var/tmp")
    [warning] = caplog.messages
    assert warning.startswith(f"Triton cannot run programs in {tmp_path}, so its files are in /var/tmp.")
    monkeypatch.setattr(triton_layout, "_can_run_programs", lambda _: False)
    with pytest.raises(TritonError, match=r"not mounted noexec.*/tmp.*set TMPDIR$"):
        scratch_parent()


def test_noexec_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = list(os.statvfs(tmp_path))
    flags[8] |= os.ST_NOEXEC
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(flags))
    assert not triton_layout._can_run_programs(tmp_path)


def test_a_stub_sees_only_ascii_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Python 3.13 it aborts while it starts if the virtual environment's path has an umlaut."""
    prefix = Path("/home/müller/Vögel/.venv")
    packages = prefix / "lib" / "python3.13" / "site-packages"
    monkeypatch.setattr("sys.prefix", str(prefix))
    monkeypatch.setattr("sys.path", ["/home/müller/Vögel", str(packages)])
    environment = triton_environment(tmp_path, tmp_path)
    assert environment["PYTHONPATH"] == f"{tmp_path}/environment/lib/python3.13/site-packages"
    assert environment["PATH"].split(":")[0] == f"{tmp_path}/environment/bin"


@pytest.mark.parametrize("name", ["with space", "with,comma", "Vögel", "$(id)", "a;b"])
def test_a_folder_that_a_shell_would_split_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / name))
    assert scratch_parent() != tmp_path / name
