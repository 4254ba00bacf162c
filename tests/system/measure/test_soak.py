"""`birds soak`: a short run passes and leaves nothing behind, and which findings make a run fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.processes import descendants, eventually, leftovers
from tests.support.service import make_project
from tools.cli.main import main
from tools.measure.soak.answers import Answer, Case, Verdict
from tools.measure.soak.report import Findings, Injected
from tools.measure.soak.restarts import Restarts
from tools.measure.soak.samples import Sample, Samples
from tools.measure.soak.traffic import judge_stream

GOOD, BAD = Case("http://a/1", bird="Rubra"), Case("http://a/2", code="not_an_image")


@pytest.fixture(scope="module")
def project(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("soak") / "project", tiny_repository)


def start(project: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tools.cli", "soak", "--json", str(project / "soak.json"), *arguments]
    environment = {**os.environ, "BIRDS_TEST_PHOTOS": ""}
    return subprocess.Popen(
        command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_short_soak_passes_and_leaves_nothing(project: Path) -> None:
    with start(project, "--minutes", "0.1", "--pause", "2", "--seed", "4") as process:
        output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, output + errors
    result = json.loads((project / "soak.json").read_text())
    assert result["requests"] > 50
    assert (result["wrong"], result["lost"], result["problems"]) == (0, 0, [])
    assert result["faults"][0]["name"] == "a version published"  # which the seed decides
    assert set(result["answers_by_version"]) == {"1", "2"}
    assert {row["role"] for row in result["processes"]} >= {"triton", "preprocess", "classifier", "worker"}
    assert "passed" in output


def test_unexplained_restarts_and_failed_changes_are_problems(tmp_path: Path) -> None:
    log = tmp_path / "serve.log"
    log.write_text("12:00:00 Triton: it accepts no connections. Restarting it now.\n")
    restarts = Restarts(log)
    restarts.read()
    failed = Injected("a version published", 0, 1, False, error="Triton does not answer")
    found = Findings(60, 1, [], [failed], Samples(), restarts)
    found.judge()
    assert found.problems == [
        "a version published: Triton does not answer",
        "triton: restarted after the start, which does not explain it: it accepts no connections.",
    ]
    assert found.totals()["restarts"] == {"triton": 1}
    assert found.totals()["restarts_explained"] == 0


def test_ctrl_c_ends_it_with_the_report_so_far(project: Path) -> None:
    with start(project, "--minutes", "5") as process:
        try:
            assert eventually(lambda: any("tritonserver" in name(pid) for pid in descendants(process.pid)))
            family = descendants(process.pid)
            time.sleep(1)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in output
    assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family))
    assert not leftovers()


def name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.mark.parametrize("arguments", [["--minutes", "0"], ["--minutes", "x"], ["--clients", "0"], ["--pause", "-1"]])
def test_bad_arguments_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["soak", *arguments]) == 2
    assert arguments[0] in capsys.readouterr().err


def line(case: Case) -> str:
    if case.code:
        return json.dumps({"url": case.url, "failure": {"code": case.code}})
    return json.dumps({"url": case.url, "predictions": [{"bird_name": case.bird}]})


def totals(status: int = 200, errors: tuple[str, ...] = ()) -> str:
    return json.dumps({"succeeded": 1, "failed": 1, "status": status, "errors": list(errors)})


@pytest.mark.parametrize(
    ("lines", "verdict"),
    [
        pytest.param([line(GOOD), line(BAD), totals()], "complete", id="whole"),
        pytest.param([line(GOOD), line(BAD)], "wrong", id="cut before the totals"),
        pytest.param([line(GOOD), totals()], "wrong", id="an image is missing"),
        pytest.param([line(GOOD), line(GOOD), line(BAD), totals()], "wrong", id="an image twice"),
        pytest.param([line(GOOD), totals(503, ("down",))], "refused", id="broken off with a status"),
        pytest.param(["{"], "wrong", id="no JSON"),
    ],
)
def test_a_stream_is_judged_by_its_lines(lines: list[str], verdict: str) -> None:
    assert judge_stream("\n".join(lines), [GOOD, BAD])[0] == verdict


def findings(verdict: Verdict, at: float, *injected: Injected, samples: Samples | None = None) -> Findings:
    answers = [("list", Answer(at, 1, verdict, Counter()))]
    found = Findings(60, 1, answers, list(injected), samples or Samples(), Restarts(Path(os.devnull)))
    found.judge()
    return found


WORKER = Injected("a frontend worker killed", at=100, recovered_seconds=1, cuts=True)


@pytest.mark.parametrize(
    ("found", "lost", "passes"),
    [
        pytest.param(findings("complete", 0), 0, True, id="complete"),
        pytest.param(findings("refused", 0), 0, True, id="refused"),
        pytest.param(findings("wrong", 0), 0, False, id="wrong"),
        pytest.param(findings("late", 0), 1, False, id="late"),
        pytest.param(findings("unreachable", 99.5, WORKER), 0, True, id="cut by the death of a worker"),
        pytest.param(findings("unreachable", 50, WORKER), 1, False, id="cut by nothing that we did"),
        pytest.param(findings("complete", 0, Injected("x", 0, None, False)), 0, False, id="a fault that stays"),
    ],
)
def test_verdicts_decide_whether_a_soak_passes(found: Findings, lost: int, passes: bool) -> None:
    assert found.totals()["lost"] == lost
    assert (not found.problems) == passes
    assert ("passed" in found.text()) == passes


@pytest.mark.parametrize(
    ("memory_mb", "descriptors", "problem"),
    [
        ([100.0] * 20, [50] * 20, None),
        ([100.0 + 40 * n for n in range(20)], [50] * 20, "memory"),
        ([100.0] * 20, [50 + 10 * n for n in range(20)], "descriptors"),
    ],
)
def test_growth_beyond_the_bounds_is_a_problem(
    memory_mb: list[float], descriptors: list[int], problem: str | None
) -> None:
    samples = [Sample(n, 1, *both) for n, both in enumerate(zip(memory_mb, descriptors, strict=True))]
    problems = findings("complete", 0, samples=Samples({"worker": samples})).problems
    assert len(problems) == (problem is not None)
    assert all(str(problem) in line for line in problems)
