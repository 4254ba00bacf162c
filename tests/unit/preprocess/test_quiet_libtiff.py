"""libtiff is found and silenced wherever Pillow is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import PIL
import pytest

from tools import ROOT

PROGRAM = """
import ctypes, os, sys
assert sys.getfilesystemencoding() == "ascii"
ctypes.CDLL(os.environ["LIBRARY"])
sys.path.append(sys.argv[1])
import quiet_libtiff
assert quiet_libtiff.silence()
"""


def test_libtiff_in_a_folder_with_umlauts(tmp_path: Path) -> None:
    """Triton's stub has an ASCII file-system encoding, so the virtual environment of a checkout there is a problem."""
    bundled = Path(PIL.__file__).parents[1] / "pillow.libs"
    if not bundled.is_dir():
        pytest.skip("this Pillow uses the system's libtiff")
    libraries = tmp_path / "müller"
    shutil.copytree(bundled, libraries)
    (library,) = libraries.glob("libtiff*")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROOT / "model_repository" / "preprocess" / "1")],
        env={**os.environ, **ascii_only, "LIBRARY": str(library)},
        check=True,
    )
