"""Publishing, rolling back and retiring versions restarts nothing, however long one waits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.processes import eventually
from tests.support.service import Service, make_project, serving
from tests.support.tiny_model import LABELS

TIMEOUT = "_CHECK_TIMEOUT_SECONDS = {}"
SHORT_SECONDS = 15  # a check takes longer on a busy machine, but not that long


def models(service: Service, *arguments: str) -> None:
    command = [sys.executable, "-m", "tools.cli", "models", *arguments, f"--triton={service.triton_url}"]
    ended = subprocess.run(command, cwd=service.project, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 0, ended.stderr


def test_changing_versions_never_restarts_triton(tiny_repository: Path, tiny_savedmodel: Path, tmp_path: Path) -> None:
    """A check that failed during the change once counted as Triton's silence, 300 s later."""
    project = make_project(tmp_path / "project", tiny_repository)
    health = project / "tools" / "serve" / "triton_health.py"
    source = health.read_text(encoding="utf-8")
    assert TIMEOUT.format(300) in source
    health.write_text(source.replace(TIMEOUT.format(300), TIMEOUT.format(SHORT_SECONDS)), encoding="utf-8")
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(LABELS) + "\n")
    with serving(project) as service:
        (triton,) = service.named("bin/tritonserver")
        for _ in range(2):
            models(service, "publish", f"--savedmodel={tiny_savedmodel}", f"--labels={labels}")
            models(service, "rollback", "--to=1")
            models(service, "retire", "2")
        assert not eventually(lambda: "Restarting" in service.output, 1.5 * SHORT_SECONDS)
        assert service.named("bin/tritonserver") == [triton]
        assert "health check failed by itself" not in service.output
