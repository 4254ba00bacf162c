"""`birds bench` as a developer runs it, with a tiny classifier: it measures everything it promises."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.service import make_project
from tools import ROOT
from tools.measure.bench.plan import CAMERA_LOAD
from tools.measure.bench.results import BASELINE, SPEED, Results
from tools.measure.perf.binary import PerfAnalyzer


@pytest.fixture(scope="module")
def project(perf_analyzer: PerfAnalyzer, tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project whose classifier is the tiny one."""
    project = make_project(tmp_path_factory.mktemp("bench") / "project", tiny_repository)
    (project / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "performance.md", project / "docs")
    for cached in ("perf_analyzer", "libpython"):
        if (ROOT / ".cache" / cached).is_dir():
            shutil.copytree(ROOT / ".cache" / cached, project / ".cache" / cached, symlinks=True)
    return project


def bench(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.cli", "bench", *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def test_quick_run_measures_and_documents_everything(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(project / "tmp"))  # the copies of the project that the service runs in go there
    monkeypatch.delenv("BIRDS_TEST_PHOTOS", raising=False)
    ended = bench(project, "--quick", "--seconds", "0.5", "--json", "results.json")
    assert ended.returncode == 0, ended.stderr
    results = Results.model_validate_json((project / "results.json").read_text())
    assert results.loads(SPEED) == [
        *("1 callers", "16 callers", "16 callers, camera photos", "direct, 16 at once"),
        *("limit, batches of 1", "limit, batches of 8"),
        *("limit, batches of 1, camera photos", "limit, batches of 8, camera photos"),
    ]
    for target in (BASELINE, "configured"):
        assert {"single calls", "costs"} <= {figure.load for figure in results.figures if figure.target == target}
        for load in results.loads("failed_images"):
            assert results.median(target, load, SPEED) is not None
            if load != CAMERA_LOAD:  # a busy machine may need longer than a download may take
                assert results.median(target, load, "failed_images") == 0
    processes = results.group("configured", "16 callers", "cpu_ms")
    assert {"triton", "preprocess", "classifier", "frontend", "image server", "load generator"} <= set(processes)
    assert {"preprocess infer", "classifier queue"} <= set(results.group("configured", "16 callers", "stage_ms"))
    shown = ended.stdout.partition("### Goals")[2].partition("That took")[0]
    assert "images/s at 16 callers / baseline's" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert not running_in(project)
    assert not list((project / "tmp").iterdir()), "no temporary file is left"

    documented = bench(project, "--report", "--json", "results.json")
    assert documented.returncode == 0, documented.stderr
    assert "### Where the time goes: 16 callers" in (project / "docs" / "performance.md").read_text()


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
    ("arguments", "code", "message"),
    [
        (["--variants", "openvino/f99x/y", "--quick"], 2, "birds: openvino/f99x/y: "),
        (["--variants", ",", "--quick"], 2, "birds: --variants: name at least one engine variant"),
        (["--report", "--json", "nothing.json"], 1, "birds: nothing.json: No such file"),
        (["--report", "--json", "pyproject.toml"], 2, "is not a result of birds bench"),
    ],
    ids=["unknown variant", "no variant", "no results", "other results"],
)
def test_mistake_is_one_line(project: Path, arguments: list[str], code: int, message: str) -> None:
    (project / "pyproject.toml").write_text("[project]\n")
    ended = bench(project, *arguments)
    assert ended.returncode == code
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1
