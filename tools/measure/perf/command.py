"""What `birds perf` does: measures every load of a sweep, writes the figures to sweep.csv, and draws plots."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from tritonclient.utils import InferenceServerException

from tools import ROOT
from tools.errors import ToolError
from tools.measure.perf.analyzer import Load, Measurement, PerfAnalyzerFailed, Server, analyze
from tools.measure.perf.binary import PerfAnalyzer, find_perf_analyzer
from tools.measure.perf.inputs import Inputs
from tools.measure.perf.sweep import Sweep, Table
from tools.models.repository import savedmodel_path
from tools.serve.ports import free_triton_ports
from tools.serve.triton_layout import TritonError
from tools.serve.triton_process import TritonServer
from tools.triton import direct_grpc
from tools.triton.settings import TritonSettings

_OUTPUT = ROOT / ".cache" / "perf"


def perf(sweep: Sweep, running: Server | None, seconds: float, output: Path | None) -> None:
    """Sweep the Triton at `running`, or one of its own. Raises ToolError if no load could be measured."""
    output = output or _OUTPUT / time.strftime("%Y-%m-%d-%H%M%S")
    program = find_perf_analyzer()
    print(f"{program.version()} ({program.path})", flush=True)
    with _own_server() if running is None else nullcontext(running) as server:
        try:
            if not sweep.models:
                sweep = replace(sweep, models=_loaded_models(server))
            if "system" in sweep.shared_memory and not _registers_shared_memory(server):
                print(
                    "Shared memory is left out: this Triton registers it only for its control key. "
                    "To measure it: BIRDS_TRITON_OPEN_APIS=shared-memory make serve",
                    flush=True,
                )
                sweep = replace(sweep, shared_memory=("none",))
            _measure(program, server, sweep, seconds, output)
        except InferenceServerException as error:
            raise ToolError(f"Triton at {server.grpc} answers: {error.message()}") from error


def _measure(program: PerfAnalyzer, server: Server, sweep: Sweep, seconds: float, output: Path) -> None:
    from tools.measure.perf.plots import draw

    output.mkdir(parents=True, exist_ok=True)
    loads = list(sweep.loads())
    print(f"{len(loads)} loads of {seconds:g} s, about {len(loads) * (seconds + 1.5) / 60:.1f} minutes", flush=True)
    with tempfile.TemporaryDirectory(prefix="birds-perf-") as folder, (output / "sweep.csv").open("w") as file:
        inputs = {model: Inputs(server.grpc, model, Path(folder)) for model in sweep.models}
        table = Table(file)
        for index, load in enumerate(loads, 1):
            print(f"[{index}/{len(loads)}] {_describe(load)}: ", end="", flush=True)
            try:
                measured = analyze(program, server, load, inputs[load.model].file_for(seconds), seconds)
            except PerfAnalyzerFailed as error:
                table.add_failure(load, str(error))
                print(f"not measured: {error}", flush=True)
            else:
                table.add(measured)
                print(_figures(measured), flush=True)
    if not table.rows:
        raise ToolError(f"no load could be measured; the reasons are in {output / 'sweep.csv'}")
    for path in [output / "sweep.csv", *draw(table.rows, output)]:
        print(f"Wrote {path}")


def _figures(measured: Measurement) -> str:
    cached = measured.cached_share
    note = f", {cached:.0%} answered from the cache" if cached >= 0.005 else ""
    speed = f"{measured.images_per_second:6.1f} images/s"
    return f"{speed}, p50 {measured.p50_ms:.1f} ms, p99 {measured.p99_ms:.1f} ms{note}"


def _describe(load: Load) -> str:
    memory = ", shared memory" if load.shared_memory != "none" else ""
    return f"{load.model}, {load.protocol}{memory}, {load.kind.replace('_', ' ')} {load.level}"


@contextmanager
def _own_server() -> Iterator[Server]:
    if not savedmodel_path().is_dir():
        raise TritonError("there is no classifier yet; to build it: birds models build")
    print("Starting Triton …", flush=True)
    log = ROOT / ".cache" / "log" / "triton-perf.log"
    settings = TritonSettings(triton_open_apis=("shared-memory",))  # perf_analyzer registers regions
    with TritonServer(free_triton_ports(), log, settings=settings) as triton:
        triton.wait_until_ready()
        yield Server(triton.http_url.removeprefix("http://"), triton.grpc_url)


def _loaded_models(server: Server) -> list[str]:
    with direct_grpc.connect(server.grpc) as client:
        return [model.name for model in client.get_inference_statistics().model_stats]


def _registers_shared_memory(server: Server) -> bool:
    with direct_grpc.connect(server.grpc) as client:
        try:
            client.get_system_shared_memory_status()
        except InferenceServerException:
            return False
    return True
