"""Sweeps Triton with NVIDIA's perf_analyzer, which is fetched if this machine has none that runs.

Every combination of model, protocol, shared memory and load is measured once; the table (sweep.csv) grows as it
goes, and plots are drawn at the end. Photos come from the folders in BIRDS_TEST_PHOTOS, else they are generated.

python -m tools.measure.perf --quick                                      a look, in a minute or two
python -m tools.measure.perf                                              a Triton of its own, everything
python -m tools.measure.perf --triton-http 127.0.0.1:8010 --triton-grpc 127.0.0.1:8011     one that runs already
python -m tools.measure.perf --models birds --protocols grpc --concurrency 1,16 --request-rates 50,100
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from tools import ROOT
from tools.measure.perf.analyzer import Load, PerfAnalyzerFailed, Protocol, Server, SharedMemory, analyze
from tools.measure.perf.binary import PerfAnalyzer, PerfAnalyzerMissing, find_perf_analyzer
from tools.measure.perf.inputs import UnknownInput, model_input, write_input_data
from tools.measure.perf.sweep import Sweep, Table
from tools.measure.photos import load_photos, numbered_photo
from tools.models.repository import savedmodel_path
from tools.serve.ports import free_triton_ports
from tools.serve.triton_layout import TritonError
from tools.serve.triton_process import TritonServer
from tools.triton.settings import TritonSettings

_INPUTS = 64  # how many different inputs are sent in turn; enough for any cache to be of little help
_OUTPUT = ROOT / ".cache" / "perf"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        with ExitStack() as stack:
            program = find_perf_analyzer()
            print(f"{program.version()} ({program.path})", flush=True)
            server = _server(options, stack)
            sweep = Sweep(
                options.models or _ready_models(server),
                options.protocols,
                options.shared_memory,
                options.concurrency,
                options.request_rates,
            )
            _measure(program, server, sweep, options.seconds, options.output)
    except (PerfAnalyzerMissing, PerfAnalyzerFailed, TritonError, UnknownInput, OSError) as error:
        print(f"perf: {error}", file=sys.stderr)
        return 1
    except InferenceServerException as error:
        print(f"perf: Triton at {options.triton_grpc or 'its own port'} answers: {error.message()}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; what was measured is kept.", file=sys.stderr)
        return 130
    return 0


def _measure(program: PerfAnalyzer, server: Server, sweep: Sweep, seconds: float, output: Path) -> None:
    from tools.measure.perf.plots import draw

    output.mkdir(parents=True, exist_ok=True)
    loads = list(sweep.loads())
    print(f"{len(loads)} loads of {seconds:g} s, about {len(loads) * (seconds + 1.5) / 60:.1f} minutes", flush=True)
    with tempfile.TemporaryDirectory(prefix="birds-perf-") as folder, (output / "sweep.csv").open("w") as file:
        inputs = {model: _input_data(server, model, Path(folder)) for model in sweep.models}
        table = Table(file)
        for index, load in enumerate(loads, 1):
            measured = analyze(program, server, load, inputs[load.model], seconds)
            table.add(measured)
            print(f"[{index}/{len(loads)}] {_describe(load)}: {measured.images_per_second:6.1f} images/s, ", end="")
            print(f"p50 {measured.p50_ms:.1f} ms, p99 {measured.p99_ms:.1f} ms", flush=True)
    for path in [output / "sweep.csv", *draw(table.rows, output)]:
        print(f"Wrote {path}")


def _input_data(server: Server, model: str, folder: Path) -> Path:
    path, photos = folder / f"{model}.json", load_photos()
    write_input_data(path, *model_input(server.grpc, model), [numbered_photo(photos, n) for n in range(_INPUTS)])
    return path


def _describe(load: Load) -> str:
    memory = ", shared memory" if load.shared_memory != "none" else ""
    return f"{load.model}, {load.protocol}{memory}, {load.kind.replace('_', ' ')} {load.level}"


def _server(options: argparse.Namespace, stack: ExitStack) -> Server:
    if options.triton_http:
        return Server(options.triton_http, options.triton_grpc)
    if not savedmodel_path().is_dir():
        raise TritonError("there is no classifier yet; to build it: birds models build")
    print("Starting Triton …", flush=True)
    log = ROOT / ".cache" / "log" / "triton-perf.log"
    settings = TritonSettings(triton_open_apis=("shared-memory",))  # regions are registered by perf_analyzer
    triton = stack.enter_context(TritonServer(free_triton_ports(), log, settings=settings))
    triton.wait_until_ready()
    return Server(triton.http_url.removeprefix("http://"), triton.grpc_url)


def _ready_models(server: Server) -> list[str]:
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        return [model.name for model in client.get_inference_statistics().model_stats]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.measure.perf", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--triton-http", metavar="HOST:PORT", help="a Triton that runs already; needs --triton-grpc")
    parser.add_argument("--triton-grpc", metavar="HOST:PORT")
    parser.add_argument("--models", type=_names(), metavar="NAME,…", help="default: all that are loaded")
    for name, values, meaning in (
        ("protocols", get_args(Protocol), "how requests are sent"),
        ("shared-memory", get_args(SharedMemory), "whether tensors travel through system shared memory"),
    ):
        parser.add_argument(
            f"--{name}",
            type=_names(values),
            default=list(values),
            metavar=",".join(values),
            help=f"{meaning} (default: both)",
        )
    for name, levels in (("concurrency", "1,2,4,8,16,32,64"), ("request-rates", "20,60,100")):
        parser.add_argument(
            f"--{name}", type=_levels, default=levels, metavar="N,…", help="default: %(default)s; may be empty"
        )
    parser.add_argument("--seconds", type=float, default=4, metavar="S", help="for each load (default: %(default)g)")
    parser.add_argument("--quick", action="store_true", help="1 s each, concurrency 1 and 16, a rate of 60")
    parser.add_argument(
        "--output",
        type=Path,
        default=_OUTPUT / time.strftime("%Y-%m-%d-%H%M%S"),
        metavar="DIR",
        help="where the table and the plots go (default: .cache/perf/, a folder a run)",
    )
    options = parser.parse_args(arguments)
    if bool(options.triton_http) != bool(options.triton_grpc):
        parser.error("--triton-http and --triton-grpc go together")
    if options.quick:
        options.seconds, options.concurrency, options.request_rates = 1, [1, 16], [60]
    if options.seconds <= 0:
        parser.error("--seconds must be above 0")
    return options


def _names(allowed: Sequence[str] = ()) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = _split(text)
        for name in names:
            if allowed and name not in allowed:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(allowed)}")
        return names

    return parse


def _levels(text: str) -> list[int]:
    for part in _split(text):
        if not (part.isdigit() and int(part) > 0):
            raise argparse.ArgumentTypeError(f"{part!r} is no whole number above 0")
    return [int(part) for part in _split(text)]


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # everything is stopped and kept, as for Ctrl-C
    sys.exit(main())
