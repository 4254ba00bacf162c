"""`tools.measure.bench` as a developer runs it, far from the real weights: it measures everything it promises."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tools import ROOT
from tools.measure.bench.results import BASELINE, Results
from tools.measure.perf.binary import PerfAnalyzer


@pytest.fixture(scope="module")
def project(perf_analyzer: PerfAnalyzer, tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project whose classifier is the tiny one."""
    project = tmp_path_factory.mktemp("project")
    for folder in ("backends", "frontend", "tools"):
        shutil.copytree(ROOT / folder, project / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(tiny_repository, project / "model_repository")
    for model in (project / "model_repository").iterdir():
        if not (ROOT / "model_repository" / model.name).exists():  # the tests' own twins
            shutil.rmtree(model)
    for cached in ("perf_analyzer", "libpython"):
        if (ROOT / ".cache" / cached).is_dir():
            shutil.copytree(ROOT / ".cache" / cached, project / ".cache" / cached, symlinks=True)
    return project


def bench(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.measure.bench", *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def test_a_quick_run_measures_everything_and_documents_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(project / "tmp"))  # the copies of the project that the service runs in go there
    monkeypatch.delenv("BIRDS_TEST_PHOTOS", raising=False)
    ended = bench(project, "--quick", "--seconds", "0.5", "--json", "results.json")
    assert ended.returncode == 0, ended.stderr
    results = Results.model_validate_json((project / "results.json").read_text())
    assert {point.target for point in results.loads} == {BASELINE, "configured"}
    for point in results.loads:
        assert point.images_per_second > 0
        assert set(point.statuses) == {"200"}
        assert point.failed_images == 0
    service = next(point for point in results.loads if point.target == "configured")
    assert {"triton", "preprocess", "classifier", "frontend", "image server", "load generator"} <= set(service.cpu_ms)
    assert {"preprocess infer", "classifier queue"} <= set(service.stages_ms)
    found = (results.direct, results.limits, results.single, results.original, results.long_lists, results.repetition)
    assert all(found)
    assert {cost.target: cost.imports_tensorflow for cost in results.costs} == {BASELINE: True, "configured": False}
    assert "| configured | images/s at 16 callers / baseline's |" in ended.stdout
    assert not running_in(project)
    assert not list((project / "tmp").iterdir()), "no temporary file is left"

    documented = bench(project, "report", "results.json")
    assert documented.returncode == 0, documented.stderr
    assert "### Where the time goes" in (project / "docs" / "performance.md").read_text()


def running_in(folder: Path) -> list[str]:
    """Commands of the processes that work somewhere in `folder`."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue  # it has ended, or is not ours
    return found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--forms", "openvino/f99x/y", "--quick"], "bench: openvino/f99x/y: ", id="an unknown form"),
        pytest.param(["report", "nothing.json"], "bench: [Errno 2]", id="no results"),
        pytest.param(["report", "pyproject.toml"], "is no result of the benchmark", id="other results"),
    ],
)
def test_what_cannot_be_done_is_one_line(project: Path, arguments: list[str], message: str) -> None:
    (project / "pyproject.toml").write_text("[project]\n")
    ended = bench(project, *arguments)
    assert ended.returncode == 1
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1
