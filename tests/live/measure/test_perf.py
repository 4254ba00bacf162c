"""`birds perf` against a real Triton: every protocol and kind of memory, with Triton's own statistics."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from tools.cli.main import main
from tools.measure.perf import command
from tools.measure.perf.analyzer import Load, Measurement, PerfAnalyzerFailed, Server, analyze
from tools.measure.perf.binary import PerfAnalyzer
from tools.measure.perf.sweep import COLUMNS
from tools.serve.ports import free_triton_ports
from tools.serve.triton_process import TritonServer

SHARED_MEMORY = Path("/dev/shm")


pytestmark = pytest.mark.usefixtures("perf_analyzer")


def sweep(triton: TritonServer, output: Path, *arguments: str) -> list[dict[str, str]]:
    addresses = ["--triton-http", triton.http_url.removeprefix("http://"), "--triton-grpc", triton.grpc_url]
    assert main(["perf", *addresses, "--seconds", "0.1", "--output", str(output), *arguments]) == 0
    with (output / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == COLUMNS
    for row in rows:
        assert float(row["images_per_second"]) > 0
        assert 0 < float(row["p50_ms"]) <= float(row["p99_ms"])
        assert float(row["compute_infer_ms"]) > 0
        assert float(row["batch_size"]) >= 1
    return rows


def column(rows: Sequence[dict[str, str]], *names: str) -> set[tuple[str, ...]]:
    return {tuple(row[name] for name in names) for row in rows}


def test_sweep_has_a_row_per_model_step(triton: TritonServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BIRDS_TEST_PHOTOS", raising=False)
    rows = sweep(
        triton,
        tmp_path,
        "--protocols=grpc",
        "--shared-memory=none",
        "--concurrency=8",
        "--request-rates=",
    )
    steps = column(rows, "model", "step")
    assert {step for model, step in steps if model == "birds"} == {"preprocess", "classifier"}
    alone = {model for model, step in steps if model == step}
    assert {"preprocess", "classifier", "classifier_on_tensorflow"} <= alone
    assert {model for model, _ in steps} == {"birds", "birds_v1", *alone}
    assert any(float(row["batch_size"]) > 1 for row in rows)
    assert any(float(row["queue_ms"]) > 0 for row in rows)
    for model in ("birds", "preprocess", "classifier"):
        assert (tmp_path / f"{model}-concurrency.svg").stat().st_size > 10_000
        assert (tmp_path / f"{model}-concurrency.png").read_bytes().startswith(b"\x89PNG")


def test_protocols_shared_memory_and_request_rates_are_combined(triton: TritonServer, tmp_path: Path) -> None:
    before = {path.name for path in SHARED_MEMORY.iterdir()}
    rows = sweep(triton, tmp_path, "--models=birds", "--concurrency=", "--request-rates=20")
    ways = {(protocol, memory) for protocol in ("http", "grpc") for memory in ("none", "system")}
    assert column(rows, "protocol", "shared_memory") == ways
    assert column(rows, "load", "level") == {("request_rate", "20")}
    assert (tmp_path / "birds-request_rate.svg").is_file()
    assert not [name for name in {path.name for path in SHARED_MEMORY.iterdir()} - before if "IMAGE" in name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--models", "nightingale"], "unknown model: 'nightingale'", id="an unknown model"),
        pytest.param(["--triton-grpc", "127.0.0.1:1"], "Triton at 127.0.0.1:1 answers: ", id="no Triton"),
    ],
)
def test_unmeasurable_sweep_is_one_line(
    triton: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    addresses = ["--triton-http", triton.http_url.removeprefix("http://"), "--triton-grpc", triton.grpc_url]
    assert main(["perf", *addresses, "--quick", "--output", str(tmp_path), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("birds: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["--protocols", "smoke"], ["--concurrency", "0"], ["--request-rates", "fast"], ["--triton-http", "a:1"]],
)
def test_wrong_options_are_refused_before_the_start(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["perf", *arguments]) == 2
    assert arguments[0].strip("-").split("-")[0] in capsys.readouterr().err


def test_running_triton_without_control_key_skips_shared_memory(
    tiny_repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `make serve` starts it: shared memory is registered only for the control key."""
    with TritonServer(free_triton_ports(), tmp_path / "triton.log", tiny_repository) as closed:
        closed.wait_until_ready()
        rows = sweep(closed, tmp_path, "--models=birds", "--protocols=grpc", "--concurrency=1,4", "--request-rates=")
    assert column(rows, "shared_memory", "level") == {("none", "1"), ("none", "4")}
    assert "BIRDS_TRITON_OPEN_APIS=shared-memory" in capsys.readouterr().out


def test_failed_load_does_not_end_the_sweep(
    triton: TritonServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail_at_4(program: PerfAnalyzer, server: Server, load: Load, data: Path, seconds: float) -> Measurement:
        if load.level == 4:
            raise PerfAnalyzerFailed("Failed to obtain stable measurement")
        return analyze(program, server, load, data, seconds)

    monkeypatch.setattr(command, "analyze", fail_at_4)
    addresses = ["--triton-http", triton.http_url.removeprefix("http://"), "--triton-grpc", triton.grpc_url]
    sizes = ["--seconds=0.1", "--models=birds", "--protocols=grpc", "--shared-memory=none", "--request-rates="]
    assert main(["perf", *addresses, *sizes, "--concurrency=1,4,8", "--output", str(tmp_path)]) == 0
    with (tmp_path / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["level"]: row["problem"] for row in rows} == {
        "1": "",
        "4": "Failed to obtain stable measurement",
        "8": "",
    }
    assert "concurrency 4: not measured: Failed to obtain stable measurement" in capsys.readouterr().out


def test_cache_is_defeated_for_models_that_have_one(triton: TritonServer, tmp_path: Path) -> None:
    rows = sweep(triton, tmp_path, "--models=birds_v1", "--protocols=grpc", "--concurrency=1,2,1", "--request-rates=")
    assert column(rows, "cache_hits") == {("0",)}
