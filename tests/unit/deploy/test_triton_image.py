"""The project's files that Dockerfile.triton copies one by one run without any other file or Python package."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tools import ROOT

DOCKERFILE = (ROOT / "Dockerfile.triton").read_text(encoding="utf-8").replace("\\\n", " ")


def copied_files() -> list[str]:
    """The Python files in COPY instructions, relative to the checkout."""
    return [
        name for line in re.findall(r"^COPY (.+)", DOCKERFILE, re.MULTILINE) for name in re.findall(r"\S+\.py", line)
    ]


def test_entrypoint_and_probe_need_no_other_file(tmp_path: Path) -> None:
    for name in copied_files():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import tools.triton.entrypoint, tools.triton.probe"
    without_packages = [sys.executable, "-I", "-S", "-c", code]
    imported = subprocess.run(without_packages, capture_output=True, text=True, check=False)
    assert imported.returncode == 0, imported.stderr


def test_import_contract_covers_the_copied_files() -> None:
    contract = (ROOT / "pyproject.toml").read_text(encoding="utf-8").rpartition("[[tool.importlinter.contracts]]")[2]
    modules = {name.removesuffix(".py").replace("/", ".") for name in copied_files() if "__init__" not in name}
    assert modules == set(re.findall(r'"((?:frontend|tools)\.[a-z_.]+)"', contract))
