"""Triton's stub gets this interpreter's libpython under the name that it asks for, or the user gets one line."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tools import ROOT
from tools.serve import libpython, preflight
from tools.serve.elf import needed_libraries
from tools.serve.libpython import LibpythonMissing
from tools.serve.triton_layout import find_wheel

STUBS = find_wheel() / "tritonserver" / "python_backend_stubs"
BUNDLED = find_wheel().parent / "nvidia_pytriton.libs"


@pytest.fixture
def no_libpython(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libpython, "_find", lambda: None)
    monkeypatch.setattr(libpython, "_unpack_debian_package", lambda: None)


def stub(version: str) -> Path:
    return STUBS / version / "triton_python_backend_stub"


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_the_names_agree_with_readelf(version: str) -> None:
    read = subprocess.run(["readelf", "-d", stub(version)], capture_output=True, text=True, check=False)
    if read.returncode:
        pytest.skip("readelf is not installed")
    names = [line.partition("[")[2].rstrip("]") for line in read.stdout.splitlines() if "(NEEDED)" in line]
    assert needed_libraries(stub(version)) == names


def test_only_elf_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    with pytest.raises(ValueError, match="not a 64-bit"):
        needed_libraries(tmp_path / "script")


@pytest.mark.parametrize(
    ("version", "name"), [("3.11", "libpython3.11.so.1.0"), ("3.13", "libpython3-419a3a08.13.so.1.0")]
)
def test_the_link_has_the_name_that_the_stub_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, name: str
) -> None:
    """Also where the wheel has a library of that name: its modules are not those of Debian's interpreter."""
    library = tmp_path / "libpython.so"
    library.touch()
    monkeypatch.setattr(libpython, "_find", lambda: library)
    libpython.link_for_stub(stub(version), tmp_path / "first", [BUNDLED])
    assert (tmp_path / "first" / name).resolve() == library


def test_an_interpreter_like_the_bundled_one_needs_no_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_libpython: None
) -> None:
    monkeypatch.setattr(libpython, "_fits_bundled", lambda: True)
    libpython.link_for_stub(stub("3.13"), tmp_path / "first", [BUNDLED])
    assert not (tmp_path / "first").exists()


@pytest.mark.parametrize("version", ["3.11", "3.13"])
def test_a_missing_library_names_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_libpython: None, version: str
) -> None:
    monkeypatch.setattr(libpython, "_fits_bundled", lambda: False)
    with pytest.raises(LibpythonMissing, match=r"^libpython3\.\d+\.so\.1\.0 is missing.*: sudo apt-get .*libpython3"):
        libpython.link_for_stub(stub(version), tmp_path / "first", [BUNDLED])


def test_this_interpreters_library_is_found() -> None:
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        pytest.skip("this Python was built without a shared library")
    found = libpython._find()
    assert found is not None
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in found.name


def test_preflight_names_all_missing_packages_in_one_line(
    monkeypatch: pytest.MonkeyPatch, no_libpython: None, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(libpython, "_fits_bundled", lambda: False)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert preflight.main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"sudo apt-get install python3-venv {libpython.PACKAGE}")


@pytest.mark.parametrize("version", [(3, 9, 0), (3, 14, 0)])
def test_preflight_names_the_supported_versions(monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...]) -> None:
    monkeypatch.setattr("sys.version_info", version)
    (problem,) = preflight.problems()
    assert "3.10 to 3.13 is needed: make serve PYTHON=" in problem


def test_preflight_needs_only_the_standard_library() -> None:
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        "import sys; sys.path.insert(0, sys.argv[1]); import tools.serve.preflight",
    ]
    subprocess.run([*command, str(ROOT)], check=True)


def test_the_debian_package_supplies_a_library_without_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a package of this machine's Debian release, whatever its Python version."""
    monkeypatch.setattr(libpython, "_CACHE", tmp_path / "cache")
    monkeypatch.setattr(libpython, "PACKAGE", _installable_libpython())
    libpython._unpack_debian_package()
    assert [path.name for path in (tmp_path / "cache").iterdir()]


def _installable_libpython() -> str:
    names = subprocess.run(["apt-cache", "pkgnames", "libpython3."], capture_output=True, text=True, check=False).stdout
    runtime = sorted(name for name in names.split() if name.removeprefix("libpython3.").isdigit())
    if not runtime:
        pytest.skip("apt has no package lists here")
    return runtime[0]
