"""A perf_analyzer that runs here is found or fetched, and where neither works one line says why."""

from __future__ import annotations

import importlib.util
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tools.measure.perf import binary
from tools.measure.perf.binary import PerfAnalyzer, PerfAnalyzerMissing, find_perf_analyzer


def program(folder: Path, script: str) -> Path:
    path = folder / "perf_analyzer"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_working_program_on_path_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = program(tmp_path, "echo Perf Analyzer Version 9")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert find_perf_analyzer() == PerfAnalyzer(path)
    assert find_perf_analyzer().version() == "Perf Analyzer Version 9"


def test_broken_program_on_path_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program(tmp_path, "echo version GLIBC_2.38 not found >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "fetched").mkdir()
    fetched = PerfAnalyzer(program(tmp_path / "fetched", "echo fetched"))
    monkeypatch.setattr(binary, "_fetch", lambda _: fetched)
    assert find_perf_analyzer() is fetched
    assert "GLIBC_2.38 not found; fetching another" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("glibc", "wheel"),
    [
        (("glibc", "2.36"), "tritonclient==2.48.0"),
        (("glibc", "2.38"), "perf-analyzer==2.60.0"),
        (("glibc", "2.100"), "perf-analyzer==2.60.0"),
        (("", ""), "tritonclient==2.48.0"),
    ],
)
def test_wheel_fits_the_c_library(
    glibc: tuple[str, str], wheel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[str] = []

    def fetched(wanted: binary._Wheel) -> PerfAnalyzer:
        chosen.append(wanted.requirement)
        return PerfAnalyzer(program(tmp_path, "echo"))

    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(platform, "libc_ver", lambda: glibc)
    monkeypatch.setattr(binary, "_fetch", fetched)
    find_perf_analyzer()
    assert chosen == [wheel]


def test_a_wheel_with_other_contents_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip checks the pinned SHA-256; nothing of a file that fails it may stay in the cache."""
    requests: list[str] = []

    def pip(command: list[str], cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
        requests.append((cwd / command[-1]).read_text())
        assert "--require-hashes" in command
        return subprocess.CompletedProcess(command, 1, "", "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES\n")

    monkeypatch.setattr(binary, "_CACHE", tmp_path / "cache")
    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(PerfAnalyzerMissing, match=r"^pip cannot fetch tritonclient==2.48.0: .*HASHES$"):
        binary._fetch(binary._OLD)
    assert requests == [f"tritonclient==2.48.0 --hash=sha256:{binary._OLD.sha256}\n"]
    assert not list((tmp_path / "cache").iterdir())


def test_without_the_triton_wheel_the_missing_libraries_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(PerfAnalyzerMissing, match=r"libb64\.so\.0d, libcudart\.so\.12 come with the wheel"):
        binary._link_libraries(tmp_path / "lib")


def test_missing_perf_analyzer_is_one_line() -> None:
    script = (
        "import sys; from tools.cli.main import main; from tools.measure.perf import binary, command\n"
        "def missing(): raise binary.PerfAnalyzerMissing('none here')\n"
        "command.find_perf_analyzer = missing; sys.exit(main(['perf', '--quick']))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "birds: none here\n"
