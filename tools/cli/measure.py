"""`birds bench`, `birds perf` and `birds soak`: measuring the service."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, TypeVar, cast

import typer

from tools.cli.numbers import decimal_number, split_numbers, whole_number
from tools.errors import UsageError

T = TypeVar("T", bound=str)

_NEEDED = ("matplotlib", "psutil")


def bench(
    quick: Annotated[
        bool, typer.Option("--quick", help="One short round, in under three minutes, for a first impression.")
    ] = False,
    variants: Annotated[
        str,
        typer.Option(
            metavar="NAME,…",
            help="Engine, or engine/precision, of the classifier, such as openvino/int8,tensorflow. `configured` uses "
            "the parameters of config.pbtxt.",
        ),
    ] = "configured",
    seconds: Annotated[
        float | None,
        typer.Option(
            parser=decimal_number(0.1), metavar="S", help="Length of a measurement.  [default: 4, or 2 with --quick]"
        ),
    ] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The results.  [default: .cache/bench/results.json]")
    ] = None,
    report: Annotated[
        bool,
        typer.Option("--report", help="Measure nothing; write earlier results into docs/performance.* and scaling.md."),
    ] = False,
) -> None:
    """Compare the service with the design that it replaced and with the limit of the machine.

    \b
    birds bench --quick
    birds bench --json results.json && birds bench --json results.json --report

    The baseline is FastAPI with TensorFlow inside, four workers. The limit is decoding and inference in a bare process
    for each core. Small photos come from the folders in BIRDS_TEST_PHOTOS, or are generated; photos of 12 megapixels
    are made from them. Keep the machine free of other work; measurements alternate between the servers, and figures are
    medians over the repeats.
    """
    _require_packages()
    from tools.measure.bench.command import RESULTS
    from tools.measure.bench.plan import QUICK, Plan

    path = json or RESULTS
    if report:
        _report(path)
        return
    from tools.measure.bench.command import bench as run

    plan = QUICK if quick else Plan()
    _stop_at_signals()
    run(dataclasses.replace(plan, seconds=seconds or plan.seconds), _names(variants), path)


def perf(
    quick: Annotated[
        bool, typer.Option("--quick", help="1 s for each load, concurrency 1 and 16, a rate of 60.")
    ] = False,
    triton_http: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="HTTP address of a running Triton; needs --triton-grpc.")
    ] = None,
    triton_grpc: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="gRPC address of the same Triton.")
    ] = None,
    models: Annotated[
        str, typer.Option(metavar="NAME,…", help="Models to measure.  [default: all loaded models]")
    ] = "",
    protocols: Annotated[str, typer.Option(metavar="NAME,…", help="How requests are sent.")] = "http,grpc",
    shared_memory: Annotated[
        str, typer.Option(metavar="NAME,…", help="Kinds of shared memory for tensors.")
    ] = "none,system",
    concurrency: Annotated[
        str, typer.Option(metavar="N,…", help="Concurrent requests; may be empty.")
    ] = "1,2,4,8,16,32,64",
    request_rates: Annotated[str, typer.Option(metavar="N,…", help="Requests per second; may be empty.")] = "20,60,100",
    seconds: Annotated[float, typer.Option(parser=decimal_number(0.1), metavar="S", help="Length of each load.")] = 4,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for the table and the plots.  [default: a new one in .cache/perf]"),
    ] = None,
) -> None:
    """Load Triton with NVIDIA's perf_analyzer, which is downloaded if this machine has none that runs.

    \b
    birds perf --quick                               starts a Triton of its own
    birds perf --triton-http 127.0.0.1:8010 --triton-grpc 127.0.0.1:8011
    birds perf --models birds --protocols grpc --concurrency 1,16

    Every combination of model, protocol, shared memory and load is measured once. Photos come from the folders in
    BIRDS_TEST_PHOTOS, or are generated.
    """
    _require_packages()
    from tools.measure.perf.analyzer import Server
    from tools.measure.perf.command import perf as run
    from tools.measure.perf.sweep import PROTOCOLS, SHARED_MEMORY, Sweep

    if quick:
        seconds, concurrency, request_rates = 1, "1,16", "60"
    if bool(triton_http) != bool(triton_grpc):
        raise UsageError("--triton-http and --triton-grpc go together")
    running = Server(triton_http, triton_grpc) if triton_http and triton_grpc else None
    sweep = Sweep(
        _names(models),
        _names(protocols, "--protocols", PROTOCOLS),
        _names(shared_memory, "--shared-memory", SHARED_MEMORY),
        split_numbers(concurrency, whole_number(1), "--concurrency"),
        split_numbers(request_rates, whole_number(1), "--request-rates"),
    )
    _stop_at_signals()
    run(sweep, running, seconds, output)


def soak(
    minutes: Annotated[float, typer.Option(parser=decimal_number(0.01), metavar="M", help="Duration.")] = 20,
    seed: Annotated[
        int, typer.Option(parser=whole_number(), metavar="N", help="Seed for the order of the faults and the traffic.")
    ] = 1,
    clients: Annotated[int, typer.Option(parser=whole_number(1, 64), metavar="N", help="Clients of each kind.")] = 1,
    pause: Annotated[
        float,
        typer.Option(
            parser=decimal_number(0.01), metavar="S", help="Seconds from the recovery of one fault to the next."
        ),
    ] = 10,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The report.  [default: .cache/soak/soak.json]")
    ] = None,
) -> None:
    """Run mixed traffic against a service of its own while parts of it are killed, frozen and cut off.

    \b
    birds soak --minutes 5

    Every answer is checked. Exit code 1 if an answer was wrong or lost, the service did not recover from a fault, a
    process ended without a fault, or memory or descriptors grew beyond their bounds. Ctrl-C ends it early, with a
    report.
    """
    _require_packages()
    from tools.measure.soak.command import REPORT, Options
    from tools.measure.soak.command import soak as run

    _stop_at_signals()
    raise typer.Exit(run(Options(minutes, seed, clients, pause, json or REPORT)))


def _require_packages() -> None:
    """Raises UsageError for a package that `make serve` does not install, before anything is measured."""
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise UsageError(
            f"measuring needs {' and '.join(missing)}, which make serve leaves out. "
            f"To install: .venv/bin/python -m pip install {' '.join(missing)} (or run make bench)"
        )


def _report(path: Path) -> None:
    from tools import ROOT
    from tools.measure import scaling
    from tools.measure.bench.report import last_recorded, read_results, write_report
    from tools.measure.markdown import replace_generated_part

    written = write_report(read_results(path))
    if recorded := last_recorded():
        page = ROOT / "docs" / "scaling.md"
        replace_generated_part(page, scaling.render(recorded))
        written.append(page)
    for written_path in written:
        typer.echo(f"Wrote {written_path}")


def _names(text: str, option: str = "", allowed: Sequence[T] = ()) -> list[T]:
    names = [part.strip() for part in text.split(",") if part.strip()]
    if wrong := [name for name in names if allowed and name not in allowed]:
        raise UsageError(f"{option} {wrong[0]}: choose from {', '.join(allowed)}")
    return cast("list[T]", names)


def _stop_at_signals() -> None:
    """Have Ctrl-C and SIGTERM stop what was started and keep what was measured."""
    for stop in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(stop) is not signal.SIG_IGN:  # as the shell has it for a program in the background
            signal.signal(stop, signal.default_int_handler)
